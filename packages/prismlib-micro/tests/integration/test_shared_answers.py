"""Three real processes share answers: seen soon, asked once, lost never, gone when invalidated."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from cache_program import NAMES, CacheCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[CacheCluster]:
    with CacheCluster() as running:
        yield running


def test_peers_see_an_answer_within_milliseconds(cluster: CacheCluster) -> None:
    texts = [f"How is lake {number} called?" for number in range(20)]
    watching = [cluster.begin(name, "watch", texts=texts) for name in NAMES[1:]]
    answered = cluster.do("node-1", "ask-slowly", texts=texts)
    seen = [cluster.end(number) for number in watching]

    delays = sorted(
        at - moment for moments in seen for at, moment in zip(moments, answered, strict=True)
    )
    print("visible on peers after", delays[len(delays) // 2], delays[-1])
    # Measured: p50 below 0.01 s; room for a machine that runs other tests beside this one.
    assert delays[len(delays) // 2] < 0.1


@pytest.mark.slow
def test_a_thousand_questions_on_all_nodes_cost_a_thousand_calls(cluster: CacheCluster) -> None:
    texts = [f"What is the meaning of item {number}?" for number in range(1_000)]

    asking = [cluster.begin(name, "ask", texts=texts) for name in NAMES]
    outcomes = [cluster.end(number) for number in asking]

    assert [outcome["unserved"] for outcome in outcomes] == [0, 0, 0]
    assert sum(outcome["calls"] for outcome in outcomes) == len(texts)
    assert outcomes[0]["answers"] == outcomes[1]["answers"] == outcomes[2]["answers"]
    assert cluster.wait_equal() < 4


@pytest.mark.parametrize("victim", NAMES)
def test_an_acknowledged_answer_outlives_the_node_that_got_it(
    cluster: CacheCluster, victim: str
) -> None:
    texts = [f"Where does river {number} of {victim} end?" for number in range(30)]
    cluster.do(victim, "ask", texts=texts)
    assert cluster.do(victim, "flush")

    cluster.kill(victim)
    try:
        others = [name for name in NAMES if name != victim]
        missing = [set(cluster.do(name, "missing", texts=texts)) for name in others]
        assert missing[0] & missing[1] == set()
        assert cluster.do(others[0], "ask", texts=texts)["calls"] == 0
    finally:
        cluster.start(victim)
    cluster.wait_whole()
    cluster.wait_equal()
    assert cluster.do(victim, "ask", texts=texts)["calls"] == 0


def test_a_node_that_stood_still_serves_nothing_invalidated(cluster: CacheCluster) -> None:
    text = "Who won the game of today's paper?"
    cluster.do("node-3", "ask", texts=[text])
    cluster.do("node-3", "flush")
    cluster.signal("node-3", signal.SIGSTOP)
    cluster.do("node-1", "invalidate", text=text)
    cluster.do("node-2", "ask", texts=["How high is the tower?"])

    cluster.signal("node-3", signal.SIGCONT)
    answer = cluster.do("node-3", "ask", texts=[text])

    assert answer["calls"] == 1
    cluster.wait_whole()
    assert cluster.wait_equal() < 4
