from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_fabric import FeedPosition
from prism.ffi import ChangeNotice, DriverConfig, DriverConfigurationError, Row
from prism.ffi._notices import Notices
from prism.ffi._replica import Applied
from prism.ffi._row_block import RowValues
from prism.ffi._status import Freshness
from prism.ffi._waiters import Waiters, parse_event_id


def test_a_replica_is_as_old_as_the_last_mark_that_was_live() -> None:
    fresh = Freshness()
    assert fresh.lag_s(5.0) is None
    assert fresh.after_mark(now=5.0, is_live=False, source_age_s=0.0) is fresh
    assert fresh.after_mark(now=5.0, is_live=True, source_age_s=None) is fresh
    fresh = fresh.after_mark(now=5.0, is_live=True, source_age_s=2.0)
    assert fresh.lag_s(6.0) == 3.0
    # A mark that knows less does not take back what is known.
    assert fresh.after_mark(now=6.0, is_live=True, source_age_s=9.0) is fresh


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_event_ids_name_positions(epoch: int, seq: int) -> None:
    assert parse_event_id(f"{epoch}-{seq}") == FeedPosition(epoch, seq)


@pytest.mark.parametrize("event_id", ["", "7", "-", "7-", "-7", "later-7", "7-x", "7-7-7"])
def test_other_ids_name_none(event_id: str) -> None:
    with pytest.raises(DriverConfigurationError, match="names no position"):
        parse_event_id(event_id)


def test_waiters_wait_for_their_position() -> None:
    waiters = Waiters()
    early, late, never = (waiters.until(FeedPosition(3, seq)) for seq in (5, 9, 99))
    waiters.reached(FeedPosition(3, 7))
    assert early.done()
    assert not late.done()
    waiters.reached(FeedPosition(4, 1))  # a snapshot of a later epoch has all of it
    assert late.done()
    assert never.done()
    assert waiters.until(FeedPosition(4, 1)).done()
    left = waiters.until(FeedPosition(4, 2))
    left.cancel()
    assert not waiters._waiting


def test_notices_are_dropped_rather_than_kept_without_bound() -> None:
    notices = Notices()
    gate, seen = threading.Event(), []
    done = threading.Event()

    def slow(notice: ChangeNotice) -> None:
        seen.append(notice)
        gate.wait(30)
        if notice.is_incomplete:
            done.set()

    stop = notices.add(slow)
    for _ in range(12):
        notices.put(Applied("a", upserted=["x"] * 20_000))
    assert sum(len(n.upserted) for n in notices._waiting) <= 100_000
    assert notices.missed >= 5
    gate.set()
    assert done.wait(30)
    assert len(seen) < 12
    stop()
    notices.put(Applied("a", upserted=["y"]))
    notices.close()
    assert not notices._waiting


async def test_coroutines_are_called_in_their_loop() -> None:
    notices = Notices()
    loop, seen = asyncio.get_running_loop(), asyncio.Event()

    async def callback(notice: ChangeNotice) -> None:
        assert asyncio.get_running_loop() is loop
        assert notice.is_reset
        seen.set()

    notices.add(callback)
    notices.put(Applied(""))
    await asyncio.wait_for(seen.wait(), 30)
    notices.close()


def test_a_row_gives_its_columns_and_compares_by_them() -> None:
    encoded = b'{"name": "W", "tags": ["a", "b"], "none": null}'
    row = Row(RowValues("1", "t", "x", 1, 0, encoded))
    assert row.columns["tags"] == ["a", "b"]
    assert row["tags"] == '["a","b"]'
    assert dict(row)["none"] is None
    with pytest.raises(TypeError):
        row.columns["name"] = "V"  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "wrapper_host"),
        ({"wrapper_host": "h", "listen_port": 1, "tenant_id": "t"}, "listen_port"),
        ({"wrapper_host": ""}, "host"),
        ({"wrapper_host": "h", "wrapper_port": 0}, "port"),
        ({"wrapper_host": "h", "tenant_id": "*"}, "tenant_id"),
        ({"wrapper_host": "h", "max_lag_s": 0}, "max_lag_s"),
        ({"wrapper_host": "h", "on_stale": "guess"}, "on_stale"),
        ({"wrapper_host": "h", "tables": "products"}, "tables"),
        ({"wrapper_host": "h", "indexed_columns": {"p": "kind"}}, "indexed_columns"),
        ({"wrapper_host": "h", "snapshot_every_s": -1}, "snapshot_every_s"),
        ({"wrapper_host": "h", "secret_file": "/no/such/file"}, "secret_file"),
        ({"listen_port": 1}, "tenant_id"),
        ({"listen_port": 1, "tenant_id": "t", "on_stale": "query"}, "on_stale"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(DriverConfigurationError, match=named):
        DriverConfig(**settings)  # type: ignore[arg-type]


def test_a_secret_is_not_shown_and_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = DriverConfig(wrapper_host="h", secret="never to be shown, ever")  # noqa: S106
    assert "never" not in repr(given)
    monkeypatch.setenv("PRISM_SECRET", "from the environment, 16")
    assert DriverConfig(wrapper_host="h").read_secret() == "from the environment, 16"
