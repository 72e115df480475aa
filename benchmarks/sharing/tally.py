"""What a phase cost: queries, calls, tokens, wrong answers, per node and for all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharing.model import price_of

__all__ = ["CLUSTER", "DICT", "OWN", "Phase", "Share", "Way", "dict_way", "way"]

CLUSTER = "ClusterCache"
OWN = "a PrismCache on each node"
DICT = "a dict of texts on each node"

Request = tuple[str, str]  # a text and its intent


@dataclass(frozen=True)
class Share:
    """One node's part, or that of all nodes.

    Attributes:
        queries: That were asked.
        calls: Of the model.
        tokens_asked: What a call for each query would have cost.
        tokens_spent: What the calls cost.
        wrong: Queries that got the answer to another question.
    """

    queries: int
    calls: int
    tokens_asked: int
    tokens_spent: int
    wrong: int

    @property
    def saved(self) -> float | None:
        """The share of tokens that was not spent; unknown where nothing was asked."""
        return 1 - self.tokens_spent / self.tokens_asked if self.tokens_asked else None


@dataclass(frozen=True)
class Way:
    """How one contestant did.

    Attributes:
        who: The contestant.
        nodes: Each node's part.
        whole: That of all nodes: `saved` is weighted by tokens.
        mean_saved: The mean of the nodes' shares, as was published: a node that asks little counts
            as much as one that asks everything.
        unserved: Queries that a node could not look up since it was cut off from the others.
    """

    who: str
    nodes: dict[str, Share]
    whole: Share
    mean_saved: float | None
    unserved: int


@dataclass(frozen=True)
class Phase:
    """One phase of one seed.

    Attributes:
        name: Which.
        seed: Draws the traffic.
        distinct: How many different texts were asked.
        ways: The contestants.
    """

    name: str
    seed: int
    distinct: int
    ways: list[Way]


def way(who: str, asked: Mapping[str, Sequence[Request]], told: Mapping[str, Any]) -> Way:
    """Add up what nodes told of a phase."""
    intents: dict[str, str] = {}
    for one in told.values():
        intents.update(one["intents"])
    shares = {}
    for name, requests in asked.items():
        one = told[name]
        shares[name] = Share(
            queries=len(requests),
            calls=one["calls"],
            tokens_asked=sum(price_of(*request) for request in requests),
            tokens_spent=one["tokens"],
            wrong=sum(
                intents[answer] != intent
                for answer, (_, intent) in zip(one["answers"], requests, strict=True)
            ),
        )
    return _way(who, shares, sum(one["unserved"] for one in told.values()))


def dict_way(asked: Mapping[str, Sequence[Request]]) -> Way:
    """Say what a dict of exact texts would have done, on each node alone."""
    shares = {}
    for name, requests in asked.items():
        distinct = dict(requests)
        shares[name] = Share(
            queries=len(requests),
            calls=len(distinct),
            tokens_asked=sum(price_of(*request) for request in requests),
            tokens_spent=sum(price_of(*request) for request in distinct.items()),
            wrong=0,
        )
    return _way(DICT, shares, 0)


def _way(who: str, shares: dict[str, Share], unserved: int) -> Way:
    whole = Share(
        *(
            sum(getattr(share, name) for share in shares.values())
            for name in ("queries", "calls", "tokens_asked", "tokens_spent", "wrong")
        )
    )
    each = [share.saved for share in shares.values() if share.saved is not None]
    return Way(who, shares, whole, sum(each) / len(each) if each else None, unserved)
