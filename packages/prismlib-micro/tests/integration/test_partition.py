"""Three real processes with cuttable links: both sides go on, and heal to one state."""

from __future__ import annotations

from typing import Any

import pytest
from cache_program import NAMES, CacheCluster

from chaos.link import Link

MAJORITY, MINORITY = NAMES[:2], NAMES[2]


def answers(cluster: CacheCluster, name: str, texts: list[str]) -> list[Any]:
    return list(cluster.do(name, "ask", texts=texts)["answers"])


@pytest.mark.parametrize("how", ["silence", "cut"])
def test_both_sides_of_a_partition_become_equal_and_serve_nothing_invalidated(how: str) -> None:
    ours, theirs = "What does the ferry cost?", "When does the ferry leave?"
    kept = [f"Which port is number {number}?" for number in range(20)]
    with CacheCluster(Link) as cluster:
        old = answers(cluster, "node-1", [ours, theirs, *kept])
        cluster.wait_equal()
        assert answers(cluster, MINORITY, [ours, theirs, *kept]) == old

        for link in cluster.links_of(MINORITY):
            getattr(link, how)()
        written = {
            name: cluster.begin(
                name, "ask", texts=[f"{name} asks about ship {n}" for n in range(20)]
            )
            for name in NAMES
        }
        said_theirs = cluster.begin(MINORITY, "invalidate", text=theirs, timeout_s=3.0)
        # A majority has it, and the lease of the third has run out.
        assert cluster.do("node-1", "invalidate", text=ours)
        during = {name: answers(cluster, name, [ours]) for name in NAMES}
        assert not cluster.end(said_theirs)  # nobody else knows of it yet
        assert all(len(cluster.end(number)["answers"]) == 20 for number in written.values())
        assert answers(cluster, "node-2", kept) == old[2:]

        for link in cluster.links_of(MINORITY):
            link.mend()
        seconds = cluster.wait_equal()
        cluster.wait_whole()
        print(f"equal {seconds:.2f} s after the links were back")  # the goal is 4 s, see the bench

        after = {name: answers(cluster, name, [ours, theirs]) for name in NAMES}
        for found in (*during.values(), *after.values()):
            assert not set(found) & set(old)
        assert after["node-1"] == after["node-2"] == after[MINORITY]
        for name in NAMES:
            assert answers(cluster, name, kept) == old[2:]
        cluster.wait_equal()
