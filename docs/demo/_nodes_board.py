"""Counts what three nodes asked of the model, beside a dict of exact texts on each of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from _scoreboard import percentile

__all__ = ["Column", "NodesBoard", "Takeover", "share"]


def share(saved: int, of: int) -> float | None:
    """Give a share, unknown where there is nothing to share."""
    return saved / of if of else None


@dataclass(slots=True)
class Column:
    """One node, or all of them.

    Attributes:
        questions: That were answered.
        calls: Of the model, those included by which the cache checks itself.
        tokens_spent: In these calls.
        tokens_asked: What it would have been if each question had been a call.
        dict_calls: What a dict of exact texts, on this node alone, would have called.
        dict_tokens: In these calls.
        wrong: Answers to another question.
    """

    questions: int = 0
    calls: int = 0
    tokens_spent: int = 0
    tokens_asked: int = 0
    dict_calls: int = 0
    dict_tokens: int = 0
    wrong: int = 0

    @property
    def saved(self) -> float | None:
        """The share of tokens that was not spent."""
        return share(self.tokens_asked - self.tokens_spent, self.tokens_asked)

    @property
    def dict_saved(self) -> float | None:
        """The same for the dict."""
        return share(self.tokens_asked - self.dict_tokens, self.tokens_asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """What happened when GREEN was killed.

    Attributes:
        killed: Who it was.
        green: Who came after.
        seconds: From the kill until that one was GREEN.
        token_before: The fencing token of the killed one.
        token: That of the new one.
        old_token_refused: Whether a guard that saw the new one refused the old.
        acknowledged: Answers that the killed one held, each confirmed by another node.
        lost: Those of them that no living node had right after the kill.
        answered: Questions answered between the kill and the replacement's being in step.
        replaced_s: From the start of the replacement until it was in step.
        missing: Acknowledged answers that the replacement lacks then.
        equal: Whether all three hold the same at the end.
    """

    killed: str
    green: str
    seconds: float
    token_before: int
    token: int
    old_token_refused: bool
    acknowledged: int
    lost: int
    answered: int
    replaced_s: float
    missing: int
    equal: bool

    @property
    def is_as_promised(self) -> bool:
        """Whether nothing was lost, and tokens rise."""
        return (
            self.token > self.token_before
            and self.old_token_refused
            and not self.lost
            and not self.missing
            and self.equal
        )


@dataclass(slots=True)
class NodesBoard:
    """All there is to show. Recorded by several threads, each for one node."""

    columns: dict[str, Column]
    roles: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    texts: dict[str, set[str]] = field(default_factory=dict)
    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(
        self, node: str, question: str, *, tokens: int, latency_s: float, answered_for: str | None
    ) -> None:
        """Note an answer.

        Args:
            node: Who was asked.
            question: What.
            tokens: What a call for it takes.
            latency_s: How long it took there.
            answered_for: The question whose answer came instead; None if it was the right one.
        """
        with self._lock:
            column = self.columns[node]
            column.questions += 1
            column.tokens_asked += tokens
            seen = self.texts.setdefault(node, set())
            if question not in seen:
                seen.add(question)
                column.dict_calls += 1
                column.dict_tokens += tokens
            if answered_for is not None:
                column.wrong += 1
                self.wrong.append((question, answered_for))
            self.latencies_s.append(latency_s)

    def spent(self, node: str, *, calls: int, tokens: int) -> None:
        """Note what a node's model has counted since the process started; it only rises."""
        with self._lock:
            column = self.columns[node]
            calls_before, tokens_before = self.before.get(node, (0, 0))
            column.calls = max(column.calls, calls_before + calls)
            column.tokens_spent = max(column.tokens_spent, tokens_before + tokens)

    def killed(self, node: str) -> None:
        """Note that a node's next process counts from 0."""
        with self._lock:
            column = self.columns[node]
            self.before[node] = column.calls, column.tokens_spent

    @property
    def questions(self) -> int:
        """How many were answered."""
        return sum(column.questions for column in self.columns.values())

    @property
    def distinct(self) -> int:
        """How many different texts were asked."""
        return len(set().union(*self.texts.values())) if self.texts else 0

    @property
    def cluster(self) -> Column:
        """All nodes together, weighted by tokens."""
        whole = Column()
        for column in self.columns.values():
            for name in Column.__slots__:
                setattr(whole, name, getattr(whole, name) + getattr(column, name))
        return whole

    def latency_s(self, at: float) -> float | None:
        """Give a percentile of the time from question to answer."""
        return percentile(list(self.latencies_s), at)
