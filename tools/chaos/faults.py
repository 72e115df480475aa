"""What can break, as data: how it is done, how it is mended, and whether it has to show."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from chaos.world import World

__all__ = ["FAULTS", "Fault", "fault_named"]

Deed: TypeAlias = Callable[[World, random.Random], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to break the feed.

    Attributes:
        name: What it is called on the command line.
        what: What happens.
        strike: Does it.
        mend: Undoes it.
        hides: Whether commits cannot come to the replica meanwhile, so that it has to show its age.
        hold_s: How long it lasts, at least and at most.
    """

    name: str
    what: str
    strike: Deed
    mend: Deed
    hides: bool = True
    hold_s: tuple[float, float] = (0.2, 2.0)


def _cut_database(world: World, _chance: random.Random) -> None:
    world.database_link.cut()


def _silence_database(world: World, _chance: random.Random) -> None:
    world.database_link.silence()


def _mend_database(world: World, chance: random.Random) -> None:
    world.database_link.mend(forget=chance.random() < 0.5)


def _cut_driver(world: World, _chance: random.Random) -> None:
    world.driver_link.cut()


def _silence_driver(world: World, _chance: random.Random) -> None:
    world.driver_link.silence()


def _mend_driver(world: World, chance: random.Random) -> None:
    world.driver_link.mend(forget=chance.random() < 0.5)


def _kill_database(world: World, _chance: random.Random) -> None:
    world.server.kill()


def _stop_database(world: World, _chance: random.Random) -> None:
    world.server.stop()


def _start_database(world: World, _chance: random.Random) -> None:
    world.server.start()


def _kill_wrapper(world: World, _chance: random.Random) -> None:
    world.kill_wrapper()


def _stop_wrapper(world: World, _chance: random.Random) -> None:
    world.wrapper.stop()


def _start_wrapper(world: World, _chance: random.Random) -> None:
    world.wrapper.start()


def _kill_app(world: World, _chance: random.Random) -> None:
    world.kill_app()


def _start_app(world: World, _chance: random.Random) -> None:
    world.start_app()


def _fill_disk(world: World, _chance: random.Random) -> None:
    world.wrapper.shrink_log()
    world.disk.fill(world.wrapper.pid)


def _free_disk(world: World, _chance: random.Random) -> None:
    world.disk.free()


def _drop_slot(world: World, _chance: random.Random) -> None:
    world.drop_slot()


def _nothing(_world: World, _chance: random.Random) -> None:
    """The wrapper mends it."""


def _hold_app(world: World, _chance: random.Random) -> None:
    if world.app is not None:
        os.kill(world.app.pid, signal.SIGSTOP)


def _let_app_go(world: World, _chance: random.Random) -> None:
    if world.app is not None:
        os.kill(world.app.pid, signal.SIGCONT)


FAULTS = (
    Fault(
        name="database-link-cut",
        what="connections of the wrapper to the database are reset, and refused for a while",
        strike=_cut_database,
        mend=_mend_database,
    ),
    Fault(
        name="database-link-silent",
        what="nothing comes through between database and wrapper, and nobody is told",
        strike=_silence_database,
        mend=_mend_database,
        hold_s=(0.2, 4.0),
    ),
    Fault(
        name="driver-link-cut",
        what="connections of the app to the wrapper are reset, and refused for a while",
        strike=_cut_driver,
        mend=_mend_driver,
    ),
    Fault(
        name="driver-link-silent",
        what="nothing comes through between wrapper and app, and nobody is told",
        strike=_silence_driver,
        mend=_mend_driver,
        hold_s=(0.2, 4.0),
    ),
    Fault(
        name="database-killed",
        what="SIGKILL of the postmaster, crash recovery at the next start",
        strike=_kill_database,
        mend=_start_database,
    ),
    Fault(
        name="database-restarted",
        what="the database is stopped in order, and started again",
        strike=_stop_database,
        mend=_start_database,
    ),
    Fault(
        name="wrapper-killed",
        what="SIGKILL of prism-wrapper, started again",
        strike=_kill_wrapper,
        mend=_start_wrapper,
    ),
    Fault(
        name="wrapper-stopped",
        what="SIGTERM to prism-wrapper, started again",
        strike=_stop_wrapper,
        mend=_start_wrapper,
    ),
    Fault(
        name="driver-killed",
        what="SIGKILL of the app, started again with the snapshot it left",
        strike=_kill_app,
        mend=_start_app,
        hides=False,
    ),
    Fault(
        name="disk-full",
        what="the disk of the change log has no byte left",
        strike=_fill_disk,
        mend=_free_disk,
    ),
    Fault(
        name="slot-dropped",
        what="the replication slot is dropped while it is read",
        strike=_drop_slot,
        mend=_nothing,
        hides=False,
    ),
    Fault(
        name="slow-subscriber",
        what="the app stands still (SIGSTOP) and reads nothing",
        strike=_hold_app,
        mend=_let_app_go,
        hides=False,
        hold_s=(0.5, 4.0),
    ),
)
"""All of them."""


def fault_named(name: str) -> Fault:
    """Find a fault.

    Raises:
        KeyError: There is none of that name.
    """
    return {fault.name: fault for fault in FAULTS}[name]
