"""The rule in force: what evidence weighs, and the bar that its sum must reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Literal

__all__ = ["Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How to decide now. Immutable, so that readers need no lock.

    Attributes:
        weights: What each kind of evidence is worth, in the order of `prism.cache._evidence.KINDS`.
        offset: Added to the weighted sum.
        bar: Score that a hit needs.
        is_bar_learned: Whether the bar follows from labels of this scope; if not, from experience.
        are_weights_learned: The same of the weights.
        check_share: Share of hits whose truth is to be looked up by a shadow check.
        error_estimate: Estimated share of all requests that this rule answers wrongly; `None` while
            nothing is known.
        error_bound: Upper confidence bound of that share; `None` likewise.
        labels: Questions whose truth is known and rests behind this rule.
    """

    weights: tuple[float, ...]
    offset: float = 0.0
    bar: float
    is_bar_learned: bool = False
    are_weights_learned: bool = False
    check_share: float = 0.0
    error_estimate: float | None = None
    error_bound: float | None = None
    labels: int = 0

    @property
    def origin(self) -> Literal["experience", "labels"]:
        """What the bar rests on."""
        return "labels" if self.is_bar_learned else "experience"

    @property
    def weighing(self) -> Literal["experience", "labels"]:
        """What the weights rest on."""
        return "labels" if self.are_weights_learned else "experience"

    def score(self, evidence: Sequence[float]) -> float:
        """Weigh the evidence."""
        return math.fsum(map(mul, self.weights, evidence)) + self.offset
