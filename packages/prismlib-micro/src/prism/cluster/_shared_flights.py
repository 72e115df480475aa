"""One call of the model for a question that several nodes ask at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chorus_fabric import ChorusError
from chorus_fabric.mesh import FrameKind
from prism.cluster._clock import Stamp
from prism.cluster._flight_table import FlightTable, owner_of

if TYPE_CHECKING:
    from chorus_fabric.mesh import CHORUSFabric, MeshMessage
    from prism.cache import Lookup
    from prism.cluster._shared_answers import SharedAnswers

__all__ = ["Flight", "SharedFlights"]

_log = logging.getLogger("prism.cluster")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 2.0
# A peer that is up says in a few milliseconds whether it holds an answer; after so long it is not
# worth waiting for beside a call of the model.
_LONGEST_SEARCH_S = 0.25


@dataclass(slots=True)
class Flight:
    """A call of the model for a question, by this node or by another that it waits for."""

    question: str
    name: str
    owner: str = ""
    before: Stamp | None = None
    has_searched: bool = False
    has_landed: bool = False


class SharedFlights:
    """This node's part in the flights of the cluster. Used from one event loop.

    The owner of a question says who calls the model; the others wait for the answer to come by
    replication, and ask again from time to time: words about flights may be lost. Who calls first
    asks every other node for the answer: one may hold it alone, as when the node that got it died
    after one other had confirmed it.

    Args:
        fabric: Where owners are asked.
        answers: What is held here.
        longest_s: After so long another node may call.
    """

    def __init__(self, fabric: CHORUSFabric, answers: SharedAnswers, *, longest_s: float) -> None:
        self._fabric = fabric
        self._answers = answers
        self._table = FlightTable(longest_s=longest_s)
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.shared = 0

    def begin(self, question: str) -> Flight:
        """Name a flight: who asks after an invalidation must not wait for a call before it."""
        return Flight(question, f"{question}:{self._answers.invalidations_known()}")

    async def fly(
        self,
        flight: Flight,
        look_up: Callable[[], Lookup],
        call: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Call the model, or wait for the node that does.

        After the flight has landed the cache only checks a hit: that calls the model beside, and
        what comes is kept nowhere, so no other node must wait for it.
        """
        if flight.has_landed:
            return await call()
        question, wait_s = flight.question, _FIRST_WAIT_S
        arrived = asyncio.Event()
        self._waiting.setdefault(question, set()).add(arrived)
        looked_at: Stamp | None = None
        try:
            while True:
                arrived.clear()
                stamp = self._answers.stamp_of(question)
                if stamp != looked_at:
                    looked_at = stamp
                    found = await asyncio.to_thread(look_up)
                    if found.hit:
                        self.shared += 1
                        return found.answer
                if await self._leads(flight, stamp):
                    if flight.has_searched:
                        break
                    flight.has_searched = True
                    if not await self._is_held_elsewhere(flight, stamp):
                        break
                if self._answers.stamp_of(question) == stamp:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(arrived.wait(), wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        finally:
            self._waiting[question].discard(arrived)
            if not self._waiting[question]:
                del self._waiting[question]
        flight.before = stamp
        return await call()

    def land(self, flight: Flight, how: str) -> None:
        """End a flight; tell its owner that no answer will come of it, if so."""
        flight.has_landed = True
        owner, question = flight.owner, flight.question
        if not owner or (how == "unstored" and self._answers.stamp_of(question) != flight.before):
            return
        if owner == self._fabric.node_id:
            self._landed(how, question, flight.name, owner)
            return
        payload = json.dumps([how, question, flight.name, None]).encode()
        with contextlib.suppress(ChorusError):  # it ends when this node goes, or in time
            self._fabric.send(owner, FrameKind.INVALIDATE, payload)

    def arrived(self, question: str) -> None:
        """Wake those who wait for an answer that is here now."""
        for event in self._waiting.get(question, ()):
            event.set()
        self._table.arrived(question)

    def lost(self, node: str) -> None:
        """End the flights of a node that is gone."""
        self._table.lost(node)

    def on_frame(self, message: MeshMessage) -> bytes:
        """Answer as the owner of a question who calls the model."""
        try:
            verb, question, flight, stamp = json.loads(message.payload)
            theirs = None if stamp is None else Stamp(*stamp)
        except (ValueError, TypeError):
            _log.warning("a frame of %s is refused: no word about a flight", message.sender)
            return b""
        if verb not in ("ask", "have"):
            self._landed(verb, question, flight, message.sender)
            return b""
        ours = self._answers.stamp_of(question)
        if (
            ours is not None
            and (theirs is None or theirs < ours)
            and self._answers.send_again(question, message.sender)
        ):
            return b"wait"
        if verb == "have":
            return b"none"
        if not self._fabric.peers()[message.sender].is_up:
            return b"wait"  # it was lost since: nobody would end a flight that it leads
        leads = self._table.ask(question, flight, message.sender, self._fabric.now())
        return b"lead" if leads else b"wait"

    async def _leads(self, flight: Flight, stamp: Stamp | None) -> bool:
        """Ask the question's owner whether this node leads."""
        peers = self._fabric.peers()
        up = [self._fabric.node_id, *(name for name, peer in peers.items() if peer.is_up)]
        owner = owner_of(flight.question, up)
        own = self._fabric.node_id
        if owner == own:
            leads = self._table.ask(flight.question, flight.name, own, self._fabric.now())
        else:
            payload = json.dumps(["ask", flight.question, flight.name, stamp]).encode()
            try:
                reply = await self._fabric.request(
                    owner, FrameKind.TOKEN_SYNC, payload, timeout_s=_LONGEST_WAIT_S
                )
            except ChorusError as error:
                _log.debug("%s cannot be asked who leads: %s", owner, error)
                return False
            leads = reply == b"lead"
        if leads:
            flight.owner = owner
        return leads

    async def _is_held_elsewhere(self, flight: Flight, stamp: Stamp | None) -> bool:
        """Ask the nodes that were not asked yet for the answer; it comes by replication."""
        payload = json.dumps(["have", flight.question, flight.name, stamp]).encode()

        async def sends_it(peer: str) -> bool:
            try:
                reply = await self._fabric.request(
                    peer, FrameKind.TOKEN_SYNC, payload, timeout_s=_LONGEST_SEARCH_S
                )
            except ChorusError as error:
                _log.debug("%s cannot be asked for an answer: %s", peer, error)
                return False
            return reply == b"wait"

        peers = self._fabric.peers().items()
        others = [name for name, peer in peers if peer.is_up and name != flight.owner]
        return any(await asyncio.gather(*map(sends_it, others)))

    def _landed(self, how: str, question: str, flight: str, who: str) -> None:
        if how == "unstored":
            self._table.unstored(question, self._fabric.now())
        else:
            self._table.gave_up(question, flight, who)
