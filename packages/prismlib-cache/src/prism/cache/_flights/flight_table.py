"""Who leads which flight, and who waits for whom: the rules of single flight, without any waiting.

A *flight* is one key in the air. Everyone who asks for the key takes a *seat*, which stands:

    LEADING   calls the model; one seat per flight, at all times
    LIVE      led, and the result (a stream) is being shared while it grows; nobody waits
    WAITING   in arrival order, until the leader ends
    SHARED    has the leader's result
    ALONE     must call without sharing, for the reason given
    ENDED     left

    enter       no flight: LEADING · live flight: SHARED · else WAITING, or ALONE if it may not wait
    succeed     the leader ENDED, all who wait SHARED, the flight over
    release     the leader ENDED, all who wait ALONE, the flight over
    share_live  the leader LIVE, all who wait SHARED
    time_out    WAITING becomes ALONE
    leave       LEADING: ENDED and the first who waits is LEADING; if none, the flight is over
                LIVE: ENDED and the flight is over · WAITING, SHARED, ALONE: ENDED

Any other move of a seat changes nothing, so that two endings that race are decided by the first.

*Rings.* A seat remembers the leads it was taken inside of: those whose call asked. While it waits,
each of those leads is *blocked* by the flight it waits for; where it shares a live stream, which
it will read, until that lead ends. `enter` walks from the flight's leader along blocked leads; if
it comes to a lead the asker is inside of, waiting would close a ring, and the seat is ALONE. New
edges appear only in `enter`, so the graph never holds a ring. That is why a leader ends if its own
call ends.

Moves return the seats whose standing they settled: the caller wakes them. Nothing here locks,
waits or calls anything but the key's `__hash__` and `__eq__`. Moves must not overlap.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["AloneReason", "Flight", "FlightTable", "Seat", "Standing"]

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Standing(enum.Enum):
    """Where a seat stands; see the module."""

    LEADING = "leading"
    LIVE = "live"
    WAITING = "waiting"
    SHARED = "shared"
    ALONE = "alone"
    ENDED = "ended"


class AloneReason(enum.Enum):
    """Why a caller was told to call without sharing."""

    TIMEOUT = "the leader took longer than the caller would wait"
    NESTED = "the caller runs inside the leader's own call"
    RING = "the leader waits, through others, for the caller"
    UNSHAREABLE = "the leader's result cannot be shared"
    EVENT_LOOP = "waiting would block the event loop that runs in this thread"
    FINALIZER = "the caller interrupted the table itself, as a finalizer does"


class Flight(Generic[K, R]):
    """One key in the air; `leader` is None once it is over."""

    __slots__ = ("key", "leader", "waiting")

    def __init__(self, key: K, leader: Seat[R]) -> None:
        self.key = key
        self.leader: Seat[R] | None = leader
        self.waiting: OrderedDict[Seat[R], None] = OrderedDict()


class Seat(Generic[R]):
    """One caller's part in a flight.

    Only the table changes it, except for `bell`, which belongs to whoever waits.
    """

    __slots__ = (
        "__weakref__",
        "bell",
        "blocked",
        "flight",
        "inside",
        "reason",
        "result",
        "standing",
    )

    def __init__(self, standing: Standing, inside: Sequence[Seat[Any]]) -> None:
        self.standing = standing
        self.inside = inside
        self.flight: Flight[Any, R] | None = None
        self.blocked: dict[Seat[Any], Flight[Any, Any]] = {}
        self.result: R | None = None
        self.reason: AloneReason | None = None
        self.bell: Any = None

    @property
    def leads(self) -> bool:
        """Whether a call under this lead is still going on."""
        return self.standing is Standing.LEADING or self.standing is Standing.LIVE


class FlightTable(Generic[K, R]):
    """All flights of one cache.

    Not thread-safe. A move costs O(seats it settles), `enter` O(1), but inside a lead O(blocked
    leads).
    """

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[K, Flight[K, R]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def enter(
        self, key: K, inside: Sequence[Seat[Any]] = (), *, refusal: AloneReason | None = None
    ) -> Seat[R]:
        """Take a seat for `key`.

        Args:
            key: What is asked for.
            inside: The leads whose calls the asker is part of, ended ones left out.
            refusal: Why the asker may not wait, if so.
        """
        flight = self._flights.get(key)
        if flight is None:
            seat: Seat[R] = Seat(Standing.LEADING, inside)
            self._flights[key] = seat.flight = Flight(key, seat)
            return seat
        leader = flight.leader
        assert leader is not None  # noqa: S101 - a flight in the table has one
        seat = Seat(Standing.ALONE, inside)
        if inside and _needs(leader, inside):
            seat.reason = AloneReason.NESTED if leader in inside else AloneReason.RING
        elif leader.standing is Standing.LIVE:
            seat.standing, seat.result = Standing.SHARED, leader.result
            _block(seat, flight)
        elif refusal is not None:
            seat.reason = refusal
        else:
            seat.standing, seat.flight = Standing.WAITING, flight
            flight.waiting[seat] = None
            _block(seat, flight)
        return seat

    def succeed(self, seat: Seat[R], result: R) -> list[Seat[R]]:
        """End a lead; all who wait have `result`."""
        if seat.standing is not Standing.LEADING:
            return []
        settled = self._settle_all(seat, Standing.SHARED, result=result)
        self._finish(seat)
        for other in settled:
            _unblock(other)
        return settled

    def release(self, seat: Seat[R]) -> list[Seat[R]]:
        """End a lead whose result cannot be shared; all who wait call alone."""
        if seat.standing is not Standing.LEADING:
            return []
        settled = self._settle_all(seat, Standing.ALONE, reason=AloneReason.UNSHAREABLE)
        self._finish(seat)
        for other in settled:
            _unblock(other)
        return settled

    def share_live(self, seat: Seat[R], shared: R) -> list[Seat[R]]:
        """Give `shared` to all who wait and all who come, until the lead leaves."""
        if seat.standing is not Standing.LEADING:
            return []
        settled = self._settle_all(seat, Standing.SHARED, result=shared)
        seat.standing, seat.result = Standing.LIVE, shared
        return settled

    def time_out(self, seat: Seat[R]) -> None:
        """Stop waiting: the seat is ALONE, unless it was settled already."""
        if seat.standing is Standing.WAITING:
            self._stand_up(seat)
            seat.standing, seat.reason = Standing.ALONE, AloneReason.TIMEOUT

    def leave(self, seat: Seat[R]) -> list[Seat[R]]:
        """Give the seat up, in any standing; a lead passes to the first who waits."""
        flight = seat.flight
        if seat.standing is Standing.WAITING:
            self._stand_up(seat)
        elif seat.standing is Standing.LEADING and flight is not None and flight.waiting:
            heir, _ = flight.waiting.popitem(last=False)
            _unblock(heir)
            _end(seat)
            heir.standing, flight.leader = Standing.LEADING, heir
            return [heir]
        elif seat.leads:
            self._finish(seat)
            return []
        _end(seat)
        return []

    def forget(self) -> None:
        """End every flight and seat without settling anyone, as after a fork."""
        for flight in self._flights.values():
            for seat in flight.waiting:
                _end(seat)
            if flight.leader is not None:
                _end(flight.leader)
            flight.leader = None
        self._flights = {}

    def _settle_all(
        self,
        leader: Seat[R],
        standing: Standing,
        *,
        result: R | None = None,
        reason: AloneReason | None = None,
    ) -> list[Seat[R]]:
        flight = leader.flight
        if flight is None or not flight.waiting:
            return []
        settled = list(flight.waiting)
        flight.waiting.clear()
        for seat in settled:
            seat.standing, seat.result, seat.reason, seat.flight = standing, result, reason, None
        return settled

    def _finish(self, leader: Seat[R]) -> None:
        flight = leader.flight
        if flight is not None:
            del self._flights[flight.key]
            flight.leader = None
        _end(leader)

    def _stand_up(self, seat: Seat[R]) -> None:
        if seat.flight is not None:
            del seat.flight.waiting[seat]
            seat.flight = None
        _unblock(seat)


def _end(seat: Seat[Any]) -> None:
    seat.standing = Standing.ENDED
    seat.flight = seat.result = None
    seat.inside = ()
    seat.blocked.clear()


def _needs(leader: Seat[Any], inside: Sequence[Seat[Any]]) -> bool:
    """Whether `leader`, by all that blocks it, can end only after one of `inside`."""
    seen = {leader}
    found = [leader]
    while found:
        lead = found.pop()
        if lead in inside:
            return True
        for flight in lead.blocked.values():
            if flight.leader is not None and flight.leader not in seen:
                seen.add(flight.leader)
                found.append(flight.leader)
    return False


def _block(seat: Seat[Any], flight: Flight[Any, Any]) -> None:
    for lead in seat.inside:
        # Live streams that have ended block nobody: drop them before they pile up.
        for over in [other for other, on in lead.blocked.items() if on.leader is None]:
            del lead.blocked[over]
        lead.blocked[seat] = flight


def _unblock(seat: Seat[Any]) -> None:
    for lead in seat.inside:
        lead.blocked.pop(seat, None)
