"""Real processes: GREEN is killed and stopped, and another takes over in time.

The long form is `hatch run chaos cluster`, with cuts of the network and full CPUs.
"""

from __future__ import annotations

import pytest

from chaos.cluster import Cluster


@pytest.mark.chaos
@pytest.mark.slow
def test_another_green_after_each_fault_and_never_two() -> None:
    with Cluster() as cluster:
        seconds = [cluster.kill(), cluster.stop(), cluster.kill()]
        cluster.settle()

        assert cluster.problems() == []
        assert cluster.judge.accepted > 100
        assert len(cluster.judge.holders) >= 4
    # About 0.8 s; room for a machine that runs other tests beside this one.
    assert sorted(seconds)[1] < 2.0
