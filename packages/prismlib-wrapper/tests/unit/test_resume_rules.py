"""Whether a stream can go on from a position: each rule alone, and which of several decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.wrapper.sources.postgres._position import (
    LogEnd,
    Position,
    SlotFacts,
    format_lsn,
    obstacle,
    parse_lsn,
)

AT = Position(system=7, timeline=1, lsn=1000, tables="0123456789ab")
END = LogEnd(system=7, timeline=1, lsn=2000)
SLOT = SlotFacts(
    plugin="pgoutput",
    wal_status="reserved",
    invalidation_reason=None,
    confirmed=1000,
    active_pid=None,
    retained_bytes=0,
    failover=False,
)
BRANCHED = replace(END, timeline=3, branches=((1, 1500), (2, 1800)))


def why(
    resume: Position | None = AT,
    end: LogEnd = END,
    slot: SlotFacts | None = SLOT,
    tables: str = AT.tables,
) -> str | None:
    return obstacle(resume, end=end, tables=tables, slot=slot, plugin="pgoutput")


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"slot": replace(SLOT, confirmed=None)},
        {"slot": replace(SLOT, confirmed=500)},
        {"slot": replace(SLOT, wal_status="extended")},
        # A promoted standby has the slot because of its failover option, and all that we have.
        {"end": BRANCHED, "slot": replace(SLOT, failover=True)},
        {"end": BRANCHED, "resume": replace(AT, timeline=2, lsn=1800)},
        {"end": BRANCHED, "resume": replace(AT, lsn=1500)},
        {"resume": replace(AT, lsn=2000)},
    ],
)
def test_it_goes_on(case: dict[str, object]) -> None:
    assert why(**case) is None  # type: ignore[arg-type]


# In the order of the rules: the first that fits is told.
BARRIERS: list[tuple[dict[str, object], str]] = [
    ({"resume": None}, "no position"),
    ({"end": replace(END, system=8)}, "another database cluster"),
    ({"tables": "another"}, "set of tables"),
    ({"slot": None}, "is gone"),
    ({"slot": replace(SLOT, wal_status="lost")}, "invalidated"),
    ({"slot": replace(SLOT, invalidation_reason="idle_timeout")}, "idle_timeout"),
    ({"slot": replace(SLOT, plugin="wal2json")}, "made for wal2json"),
    ({"slot": replace(SLOT, confirmed=1001)}, "past our position"),
    # The tail that we have did not reach the standby.
    ({"end": replace(BRANCHED, branches=((1, 999),))}, "from timeline 1 to 3"),
    ({"end": replace(BRANCHED, branches=((2, 1800),))}, "from timeline 1 to 3"),
    ({"end": replace(END, lsn=999)}, "before our position"),
]


@pytest.mark.parametrize(("case", "said"), BARRIERS)
def test_it_begins_anew(case: dict[str, object], said: str) -> None:
    assert said in (why(**case) or "")  # type: ignore[arg-type]


@pytest.mark.parametrize("first", range(len(BARRIERS)))
def test_the_first_rule_is_told(first: int) -> None:
    case, said = BARRIERS[first]
    for other, _ in BARRIERS[first + 1 :]:
        if not case.keys() & other.keys():
            assert said in (why(**{**other, **case}) or "")  # type: ignore[arg-type]


NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS, NUMBERS, st.integers(1, 2**32 - 1))
def test_positions_are_written_and_read(system: int, lsn: int, timeline: int) -> None:
    position = Position(system=system, timeline=timeline, lsn=lsn, tables=AT.tables)
    assert Position.parse(str(position)) == position
    assert parse_lsn(format_lsn(lsn)) == lsn


@given(NUMBERS, NUMBERS)
def test_positions_of_one_log_are_in_the_order_of_their_texts(one: int, other: int) -> None:
    assert (str(replace(AT, lsn=one)) < str(replace(AT, lsn=other))) == (one < other)


@pytest.mark.parametrize("text", ["", "pg/1/2/3/4", "my/1/1/0000000000000001/0123456789ab"])
def test_foreign_positions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(text)
    with pytest.raises(ValueError, match="not a log sequence number"):
        parse_lsn(text)
