"""Which transactions a snapshot of the database sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources.errors import SourceClosedError
from prism.wrapper.sources.postgres._horizon import Horizon, is_visible


@pytest.mark.parametrize(
    ("xid", "snapshot", "sees"),
    [
        (99, "100:100:", True),
        (100, "100:100:", False),
        (101, "100:103:100,102", True),
        (102, "100:103:100,102", False),
        # The stream tells 32 bits, the snapshot 64.
        (7, f"{2**32 + 5}:{2**32 + 9}:{2**32 + 5}", True),
        (5, f"{2**32 + 5}:{2**32 + 9}:{2**32 + 5}", False),
        (2**32 - 3, f"{2**32 + 5}:{2**32 + 9}:", True),
        (3, f"{2**32 - 2}:{2**32 - 1}:", False),
    ],
)
def test_visible(xid: int, snapshot: str, sees: bool) -> None:
    assert is_visible(xid, snapshot) is sees


@given(st.integers(3, 2**50), st.integers(-(2**30), 2**30), st.sets(st.integers(0, 40)))
def test_visible_as_with_64_bits(xmax: int, away: int, running: set[int]) -> None:
    full = max(3, xmax + away)
    in_progress = sorted(max(0, xmax - 1 - gap) for gap in running)
    snapshot = f"{min([xmax, *in_progress])}:{xmax}:{','.join(map(str, in_progress))}"
    expected = full < xmax and full not in in_progress
    assert is_visible(full % 2**32, snapshot) is expected


class _Session:
    def __init__(self, *snapshots: str) -> None:
        self.snapshots = list(snapshots)

    def rows(self, _sql: str) -> list[tuple[str]]:
        return [(self.snapshots.pop(0),)]


def test_waits_until_all_is_visible_and_asks_no_more_then() -> None:
    waits: list[float] = []
    horizon = Horizon(lambda seconds: bool(waits.append(seconds)))
    horizon.told(10)
    horizon.told(12)
    session = _Session("10:13:10,12", "12:13:12", "13:13:")
    horizon.reach(session)  # type: ignore[arg-type]
    assert len(waits) == 2
    assert len(horizon) == 0
    horizon.reach(session)  # type: ignore[arg-type]


def test_a_closed_source_waits_no_longer() -> None:
    horizon = Horizon(lambda _seconds: True)
    horizon.told(10)
    with pytest.raises(SourceClosedError):
        horizon.reach(_Session("10:13:10"))  # type: ignore[arg-type]
