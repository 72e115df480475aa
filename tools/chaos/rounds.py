"""One round: writers write, something breaks, it is mended, everything is compared."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from chaos.faults import Fault
from chaos.shop import Writers
from chaos.world import BrokenPromiseError, World

__all__ = ["PHASES", "Outcome", "Phase", "play"]

Phase: TypeAlias = Literal["stream", "snapshot"]
PHASES: tuple[Phase, ...] = get_args(Phase)

_SHOWS_S = 10.0
_STEP_S = 0.05
# A snapshot of some thousand rows takes some seconds then.
_SNAPSHOT_BYTES_PER_S = 300_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A round that was survived.

    Attributes:
        fault: Which.
        phase: When it struck.
        seed: What drew the rest.
        in_time: Whether the phase still lasted when it struck.
        shown: How the app told meanwhile that its rows may be old; empty where it need not.
        shown_s: How long it took to tell.
        recovered_s: From mending to equality, with what writers wrote meanwhile.
        rows: How many rows were compared at the end.
        committed: Transactions that were committed.
        rolled_back: Transactions that were rolled back.
    """

    fault: str
    phase: Phase
    seed: int
    in_time: bool
    shown: str
    shown_s: float
    recovered_s: float
    rows: int
    committed: int
    rolled_back: int


def play(world: World, fault: Fault, phase: Phase, *, seed: int, haste: float = 1.0) -> Outcome:
    """Play a round, in a world where everything runs and is equal.

    Args:
        world: Where.
        fault: What breaks.
        phase: When.
        seed: Draws what is written, and how long things take.
        haste: Divides all waits: 1 for the long form.

    Raises:
        BrokenPromiseError: Something that must always hold did not.
        WrapperEndedError: The wrapper ended by itself.
    """
    chance = random.Random(f"{seed}/{fault.name}/{phase}")
    is_snapshot = phase == "snapshot"
    # Equal rows do not yet mean that the snapshot they came with is closed.
    world.await_stream()
    with Writers(world.dsn, seed=seed, pause_s=0.02 if is_snapshot else 0.004) as writers:
        _let_pass(world, chance.uniform(0.2, 1.0) / haste)
        if is_snapshot:
            world.begin_snapshot(first=chance.random() < 0.5, bytes_per_s=_SNAPSHOT_BYTES_PER_S)
            _let_pass(world, chance.uniform(0.0, 1.0) / haste)
        in_time = world.is_in_snapshot() == is_snapshot
        fault.strike(world, chance)
        try:
            shown, shown_s = _until_shown(world, fault)
            _let_pass(world, chance.uniform(*fault.hold_s) / haste)
        finally:
            fault.mend(world, chance)
            world.database_link.throttle(None)
        mended = time.monotonic()
        _let_pass(world, chance.uniform(0.2, 1.0) / haste)
    rows = world.check_equal()
    return Outcome(
        fault=fault.name,
        phase=phase,
        seed=seed,
        in_time=in_time,
        shown=shown,
        shown_s=shown_s,
        recovered_s=time.monotonic() - mended,
        rows=rows,
        committed=writers.committed,
        rolled_back=writers.rolled_back,
    )


def _until_shown(world: World, fault: Fault) -> tuple[str, float]:
    start = time.monotonic()
    if not fault.hides:
        return "", 0.0
    while not (shown := world.shows()):
        if time.monotonic() - start > _SHOWS_S:
            raise BrokenPromiseError(
                f"{fault.name}: after {_SHOWS_S:g} s the app still says that its rows are fresh"
            )
        time.sleep(_STEP_S)
    return shown, time.monotonic() - start


def _let_pass(world: World, seconds: float) -> None:
    """Let the others work, and see that the wrapper lives."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        world.wrapper.check()
        time.sleep(min(left, _STEP_S))
