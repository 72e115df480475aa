"""Who answered which round of claims, and who would answer one."""

from __future__ import annotations

__all__ = ["Canvass", "Rounds"]

_KEPT = 8  # more heartbeats than a lease has: an older answer adds nothing


class Rounds:
    """The promises for one term, by the round of claims that they answer."""

    __slots__ = ("_answers", "_majority", "_refused", "_voters", "has_held", "opened")

    def __init__(self, voters: int) -> None:
        self._voters = voters
        self._majority = voters // 2 + 1
        self._answers: dict[int, tuple[float, set[str]]] = {}
        self._refused: set[str] = set()
        self.has_held = False
        self.opened = 0.0

    def begin(self, now: float) -> None:
        """Start a term: what answers older claims no longer counts."""
        self._answers.clear()
        self._refused.clear()
        self.has_held = False
        self.opened = now

    def open(self, round_: int, now: float) -> None:
        """Note when a round of claims was sent."""
        self._answers[round_] = (now, set())
        if len(self._answers) > _KEPT:
            del self._answers[next(iter(self._answers))]

    def sent(self, round_: int) -> float | None:
        """Give when a round was sent; `None` for one that is not known any more."""
        answer = self._answers.get(round_)
        return None if answer is None else answer[0]

    def promised(self, voter: str, round_: int) -> float | None:
        """Count a promise; gives when the round was sent, once a majority has promised it."""
        answer = self._answers.get(round_)
        if answer is None:
            return None
        sent, voters = answer
        voters.add(voter)
        if len(voters) < self._majority:
            return None
        self.has_held = True
        return sent

    def refuse(self, voter: str) -> bool:
        """Count a refusal; tells whether a majority is out of reach."""
        self._refused.add(voter)
        return self._voters - len(self._refused) < self._majority


class Canvass:
    """The favourable opinions on one term."""

    __slots__ = ("_favourable", "_majority", "round", "term", "until")

    def __init__(self, round_: int, term: int, until: float, majority: int) -> None:
        self.round = round_
        self.term = term
        self.until = until
        self._majority = majority
        self._favourable: set[str] = set()

    def add(self, voter: str) -> bool:
        """Count one; tells whether a majority is favourable."""
        self._favourable.add(voter)
        return len(self._favourable) >= self._majority
