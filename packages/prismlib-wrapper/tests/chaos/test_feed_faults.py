"""The fault matrix, short: `hatch run chaos feed` is the long form.

A real PostgreSQL, a real wrapper and a real app are broken in turn, while writers write. After each
fault the app's replica has to be the table, row for row.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from chaos.faults import FAULTS, Fault, fault_named
from chaos.rounds import play
from chaos.shop import GHOST
from chaos.world import BrokenPromiseError, World

pytestmark = pytest.mark.chaos

_SEED = 20_261_123
_HASTE = 4.0
_IN_SNAPSHOT = ("database-killed", "wrapper-killed", "disk-full")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(version=18, base_rows=1500) as made:
        made.check_equal()
        yield made


@pytest.fixture(scope="module")
def older_world() -> Iterator[World]:
    with World(version=15, base_rows=1500) as made:
        made.check_equal()
        yield made


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_survives_in_the_stream(world: World, fault: Fault) -> None:
    outcome = play(world, fault, "stream", seed=_SEED, haste=_HASTE)
    assert outcome.in_time
    assert outcome.committed > 0
    assert outcome.rolled_back > 0
    assert bool(outcome.shown) is fault.hides


@pytest.mark.parametrize("name", _IN_SNAPSHOT)
def test_survives_in_a_snapshot(older_world: World, name: str) -> None:
    outcome = play(older_world, fault_named(name), "snapshot", seed=_SEED, haste=_HASTE)
    assert outcome.in_time
    assert outcome.rows > 0


def test_the_database_may_forget_its_log_afterwards(older_world: World) -> None:
    older_world.check_log_is_freed()


class TestTheChecksCanFail:
    """A matrix whose checks never fail shows nothing."""

    def test_a_row_that_is_missing(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chaos.world._EQUAL_S", 2.0)
        os.kill(world.wrapper.pid, signal.SIGSTOP)
        try:
            world.execute("INSERT INTO products VALUES (7777777, 'unheard of', 0, 0)")
            with pytest.raises(BrokenPromiseError, match="7777777"):
                world.check_equal()
        finally:
            os.kill(world.wrapper.pid, signal.SIGCONT)
        monkeypatch.undo()
        world.check_equal()

    def test_a_ghost(self, world: World) -> None:
        world.execute(f"INSERT INTO products VALUES (7777778, '{GHOST}', 0, 0)")
        with pytest.raises(BrokenPromiseError, match="rolled back"):
            world.check_equal()
