"""Who may ask the model what: one node for each question, as its owner says.

The owner of a question is found by rendezvous hashing over the nodes that are up (Thaler and
Ravishankar, 1998), so that all nodes that see the same nodes ask the same owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["FlightTable", "owner_of"]

_UNSTORED_S = 30.0
_MOST_UNSTORED = 10_000


def owner_of(question: str, nodes: Iterable[str]) -> str:
    """Name the node that decides who asks this question."""
    return max(
        nodes,
        key=lambda node: hashlib.blake2b(f"{node}\0{question}".encode(), digest_size=8).digest(),
    )


class FlightTable:
    """The questions in flight of which this node is the owner.

    Args:
        longest_s: After so long a flight counts as forgotten by its leader.
    """

    def __init__(self, *, longest_s: float) -> None:
        self._longest_s = longest_s
        # question -> flight -> leader and since when
        self._flights: dict[str, dict[str, tuple[str, float]]] = {}
        self._unstored: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._flights.values()))

    def ask(self, question: str, flight: str, who: str, now: float) -> bool:
        """Tell whether this node leads: it calls the model, others wait.

        Args:
            question: What is asked.
            flight: Which flight to it; one that began before an invalidation is another.
            who: The node that asks.
            now: Seconds of a clock that never goes back.
        """
        if now < self._unstored.get(question, now):
            return True
        flights = self._flights.setdefault(question, {})
        leader, since = flights.get(flight, (who, now))
        if leader != who and now - since < self._longest_s:
            return False
        flights[flight] = who, now
        return True

    def arrived(self, question: str) -> None:
        """End all flights to a question: its answer is here."""
        self._flights.pop(question, None)

    def gave_up(self, question: str, flight: str, who: str) -> None:
        """End a flight whose leader failed: the next who asks leads."""
        flights = self._flights.get(question, {})
        if flight in flights and flights[flight][0] == who:
            del flights[flight]
            if not flights:
                del self._flights[question]

    def unstored(self, question: str, now: float) -> None:
        """Learn that the answer is kept nowhere: for a while nobody waits for another."""
        self._flights.pop(question, None)
        if len(self._unstored) >= _MOST_UNSTORED:
            self._unstored.clear()
        self._unstored[question] = now + _UNSTORED_S

    def lost(self, node: str) -> None:
        """End the flights of a node that is gone."""
        for question, flights in list(self._flights.items()):
            for flight, (leader, _) in list(flights.items()):
                if leader == node:
                    self.gave_up(question, flight, node)
