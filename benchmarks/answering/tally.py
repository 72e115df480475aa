"""What a cache did with a stream, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from answering.streams import Stream

_POINTS = 10


@dataclass
class Tally:
    """Counts of one cache on one stream. A hit is an answer that no call of the request gave.

    Attributes:
        data: The stream's data set.
        kind: The stream's kind.
        seed: The stream's seed.
        who: The cache, or the rule.
        target: Share of requests that it may answer wrongly, if it was told one.
        admits_all: Whether it was told that no answer depends on who asks, when, or on an effect:
            it then has no admission rules.
        requests: Requests in the stream.
        hits: Requests that were answered from the store.
        wrong: Hits with the answer to another intent.
        calls: Calls to the model, those of checks included.
        checks: Calls beside those that answered a request.
        tokens: Input and output tokens of all calls; `None` where no model was called.
        seconds: Time of the whole stream.
        metrics: What the cache itself says, if it counts.
        course: `(requests, hits, wrong)` so far, at ten points of the way.
    """

    data: str
    kind: str
    seed: int
    who: str
    target: float | None = None
    admits_all: bool = False
    requests: int = 0
    hits: int = 0
    wrong: int = 0
    calls: int = 0
    checks: int = 0
    tokens: int | None = None
    seconds: float = 0.0
    metrics: dict[str, Any] | None = None
    course: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def of(
        cls, stream: Stream, who: str, target: float | None = None, *, admits_all: bool = False
    ) -> Tally:
        """Begin to count."""
        return cls(stream.data, stream.kind, stream.seed, who, target, admits_all)

    def count(self, *, hit: bool, wrong: bool, length: int) -> None:
        """Count a request of a stream of this length."""
        self.requests += 1
        self.hits += hit
        self.wrong += wrong
        if self.requests * _POINTS // length > (self.requests - 1) * _POINTS // length:
            self.course.append((self.requests, self.hits, self.wrong))

    @property
    def hit_share(self) -> float:
        """Share of all requests."""
        return self.hits / self.requests

    @property
    def wrong_share(self) -> float:
        """Share of all requests."""
        return self.wrong / self.requests
