"""One call per key at a time, for threads and for tasks of any number of event loops together.

The rules (who leads, who waits, who inherits) are those of `flight_table`; this module adds the
waiting.

- A caller that finds a leader waits on a *bell* of its own: a lock in a thread, a future in a
  task. The bell only says "look again". What was decided stands in the seat, which is read and
  given up under one gate, so a wake-up that crosses a timeout or a cancellation is never lost:
  whoever finds on its way out that it was made leader passes the lead on.
- A loop that is closed cannot be rung. Its seat leaves at once, which again passes a lead on.
- A lead ends with its `with` block, and with the `Lead` object if it is dropped without one.
- A context variable carries the leads that a call is inside of, into child tasks and
  `asyncio.to_thread`. A bare `threading.Thread` or `Executor.submit` does not copy the context:
  rings through those are not seen, and end by `timeout_s`.
- Synchronous code in a thread whose event loop is running never waits: it would stop that loop.

The gate is one for the process, so that rings across several caches are seen too. It is held for
about a microsecond, never while user code runs (but for the key's hash and equality) or a bell
rings.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import weakref
from asyncio import events
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from prism.cache._flights.bell import LoopBell, ThreadBell
from prism.cache._flights.flight_table import AloneReason, FlightTable, Seat, Standing
from prism.cache._flights.gate import Gate

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Alone", "AloneReason", "Lead", "Shared", "SingleFlight", "Turn"]

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

_gate = Gate()
_inside: contextvars.ContextVar[tuple[Seat[Any], ...]] = contextvars.ContextVar(
    "prism.cache.inside", default=()
)


@dataclass(frozen=True, slots=True)
class Shared(Generic[R]):
    """The leader's result. All who share it have the same object."""

    result: R


@dataclass(frozen=True, slots=True)
class Alone:
    """Call, and share with nobody."""

    reason: AloneReason


class Lead(Generic[R]):
    """The caller's duty to call and to say how it ended; a context manager.

    Call inside `with lead:`, in sync and async code alike. The block tells nested calls where they
    are, and leaving it without an ending, by an exception, a cancellation or a return, is
    `abandon`. The first ending counts, later ones do nothing. Thread-safe. No method waits or
    raises.
    """

    __slots__ = ("__weakref__", "_flights", "_seat", "_token")

    def __init__(self, flights: SingleFlight[Any, R], seat: Seat[R]) -> None:
        self._flights = flights
        self._seat = seat
        self._token: contextvars.Token[tuple[Seat[Any], ...]] | None = None

    def succeed(self, result: R) -> None:
        """End the flight; everyone who waits gets `result` itself."""
        self._flights._succeed(self._seat, result)

    def abandon(self) -> None:
        """End the lead without a result; the one who has waited longest leads next."""
        self._flights._leave(self._seat)

    def release(self) -> None:
        """End the flight; everyone who waits calls alone. For a result that cannot be shared."""
        self._flights._release(self._seat)

    def share_live(self, shared: R) -> None:
        """Give `shared` to everyone who waits or comes, until `close`; outlasts the `with` block.

        Whoever ends the stream must keep this object and `close` it; if it is dropped it closes
        itself.
        """
        self._flights._share_live(self._seat, shared)

    def close(self) -> None:
        """End a live flight: who comes now begins anew. Before `share_live` it is `abandon`."""
        self._flights._leave(self._seat)

    def __enter__(self) -> Lead[R]:
        self._token = _inside.set((*_leads_here(), self._seat))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if kind is not None or self._seat.standing is Standing.LEADING:
            self._flights._leave(self._seat)
        if token is not None:
            # An async generator closed by the collector ends in another context than it began.
            with contextlib.suppress(ValueError):
                _inside.reset(token)

    def __del__(self) -> None:
        if self._seat.leads:
            self._flights._lose(self._seat)


Turn: TypeAlias = Lead[R] | Shared[R] | Alone


class SingleFlight(Generic[K, R]):
    """Turn concurrent askers for one key into one caller and its audience.

        turn = flights.join(key, timeout_s=30)          # or: await flights.ajoin(key, timeout_s=30)
        match turn:
            case Shared(result):
                return result
            case Alone():
                return call()
            case Lead() as lead:
                with lead:
                    result = call()                     # or: await call()
                    lead.succeed(result)
                    return result

    Thread-safe; tasks of any loop and threads share flights. In the child of a fork it is empty:
    leads begun in the parent do nothing there. `len()` is the number of keys in flight.
    """

    __slots__ = ("__weakref__", "_table")

    def __init__(self) -> None:
        self._table: FlightTable[K, R] = FlightTable()
        _everyone.add(self)

    def __len__(self) -> int:
        return len(self._table)

    def join(self, key: K, *, timeout_s: float | None = None) -> Turn[R]:
        """Wait for a turn: to lead, to share the leader's result, or to call alone.

        Args:
            key: What is asked for. Its hash and equality run under the gate: they must not block.
            timeout_s: The longest wait, over all leaders together; None is for ever, 0 never waits.
        """
        refusal = None
        if events._get_running_loop() is not None:
            refusal = AloneReason.EVENT_LOOP
        elif timeout_s is not None and timeout_s <= 0:
            refusal = AloneReason.TIMEOUT
        seat: Seat[R] | None = None
        bell: ThreadBell | None = None
        try:
            if not _gate.enter():
                return Alone(AloneReason.FINALIZER)
            try:
                seat = self._table.enter(key, _leads_here(), refusal=refusal)
                if seat.standing is Standing.WAITING:
                    seat.bell = bell = ThreadBell()
            finally:
                _gate.leave()
            if bell is not None:
                bell.wait(timeout_s)
                self._stop_waiting(seat)
            return self._turn(seat)
        except BaseException:
            if seat is not None:
                self._leave(seat)
            raise

    async def ajoin(self, key: K, *, timeout_s: float | None = None) -> Turn[R]:
        """Wait for a turn as `join` does, without blocking the event loop.

        Cancelling it leaves no trace: had it just been made leader, the next one is.

        Args:
            key: As for `join`.
            timeout_s: As for `join`.
        """
        refusal = None
        if timeout_s is not None and timeout_s <= 0:
            refusal = AloneReason.TIMEOUT
        seat: Seat[R] | None = None
        bell: LoopBell | None = None
        try:
            if not _gate.enter():
                return Alone(AloneReason.FINALIZER)
            try:
                seat = self._table.enter(key, _leads_here(), refusal=refusal)
                if seat.standing is Standing.WAITING:
                    seat.bell = bell = LoopBell()
            finally:
                _gate.leave()
            if bell is not None:
                await bell.wait(timeout_s)
                self._stop_waiting(seat)
            return self._turn(seat)
        except BaseException:
            if seat is not None:
                self._leave(seat)
            raise

    def _stop_waiting(self, seat: Seat[R]) -> None:
        if seat.standing is Standing.WAITING:
            _gate.run(lambda: self._table.time_out(seat))

    def _turn(self, seat: Seat[R]) -> Turn[R]:
        if seat.standing is Standing.LEADING:
            return Lead(self, seat)
        if seat.standing is Standing.SHARED:
            result, seat.result = seat.result, None
            return Shared(result)  # type: ignore[arg-type]  # None only if R allows it
        return Alone(seat.reason or AloneReason.TIMEOUT)

    def _succeed(self, seat: Seat[R], result: R) -> None:
        _gate.run(lambda: self._wake(self._table.succeed(seat, result)))

    def _release(self, seat: Seat[R]) -> None:
        _gate.run(lambda: self._wake(self._table.release(seat)))

    def _share_live(self, seat: Seat[R], shared: R) -> None:
        _gate.run(lambda: self._wake(self._table.share_live(seat, shared)))

    def _leave(self, seat: Seat[R]) -> None:
        _gate.run(lambda: self._wake(self._table.leave(seat)))

    def _lose(self, seat: Seat[R]) -> None:
        _gate.post(lambda: self._wake(self._table.leave(seat)))

    def _wake(self, settled: list[Seat[R]]) -> Callable[[], None] | None:
        return (lambda: self._ring(settled)) if settled else None

    def _ring(self, settled: list[Seat[R]]) -> None:
        for seat in settled:
            # The table holds a seat that leads; through its bell it would hold the waiting task,
            # which could then not be collected, and pass the lead on, after its loop was closed.
            bell, seat.bell = seat.bell, None
            if not bell.ring():
                self._leave(seat)


def _leads_here() -> tuple[Seat[Any], ...]:
    """The leads whose calls this code is part of; those that ended meanwhile bind nobody."""
    inside = _inside.get()
    return tuple(seat for seat in inside if seat.leads) if inside else inside


_everyone: weakref.WeakSet[SingleFlight[Any, Any]] = weakref.WeakSet()


def _forget_in_child() -> None:
    _gate.reset()
    for flights in list(_everyone):
        flights._table.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
