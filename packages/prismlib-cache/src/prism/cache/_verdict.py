"""Does one of these stored questions ask the same? The decision, and all it rests on.

Rule, the best untrained one on BANKING77, CLINC150 and two sets that were held out:

    score    = cosine + 2 * min(gap, 0.1)
    gap      = cosine - cosine of the best stored question with a different answer
    required = what the accepted error asks for, plus the largest penalty of the guards

The gap measures ambiguity: a cosine of .85 means more when the next other answer is at .60 than at
.84. It is capped, since beyond .1 a larger gap was no better evidence. Without any other answer
among the candidates it counts as full. Guards (`_guards`) veto or raise what is required.

With a plain similarity threshold none of this applies: the cosine alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from prism.cache._answers import AnswerSketch, say_the_same
from prism.cache._guards import Guard, Objection, objections

__all__ = ["Candidate", "Judgement", "Policy", "judge", "required_score"]

GAP_WEIGHT = 2.0
GAP_CAP = 0.1

# (share of requests that may be answered wrongly, score required). A fixed prior: with the guards,
# the worse of BANKING77 and CLINC150 (every text once, MiniLM, mean of three streams) stayed under
# the first figure at the second. It is measured experience, not a guarantee for other traffic.
_PRIOR = ((0.001, 1.14), (0.005, 1.06), (0.01, 1.02), (0.02, 0.98), (0.05, 0.92))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored question near the asked one.

    Attributes:
        question: As it was asked when it was stored.
        cosine: To the asked question.
        answer: Sketch of its answer.
    """

    question: str
    cosine: float
    answer: AnswerSketch


@dataclass(frozen=True, slots=True)
class Policy:
    """How to decide.

    Attributes:
        required: Score that a hit needs, before penalties.
        guards: What may object.
        uses_gap: Whether the gap counts; if not the score is the cosine.
    """

    required: float
    guards: tuple[Guard, ...]
    uses_gap: bool = True

    @property
    def largest_bonus(self) -> float:
        """What the gap can add to a cosine at most."""
        return GAP_WEIGHT * GAP_CAP if self.uses_gap else 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision on one candidate.

    Attributes:
        question: The stored question.
        cosine: Its cosine to the asked one.
        gap: Its lead over the best candidate with a different answer; `None` if there is none.
        score: What was reached.
        required: What was needed, penalties included; infinite after a veto.
        objections: What the guards found.
    """

    question: str
    cosine: float
    gap: float | None
    score: float
    required: float
    objections: tuple[Objection, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether the stored answer may be served."""
        return self.score >= self.required

    @property
    def veto(self) -> Objection | None:
        """The first objection that no score outweighs, if any."""
        return next((objection for objection in self.objections if objection.is_veto), None)


def required_score(max_error: float) -> float:
    """Give the score that keeps wrong answers under `max_error` of all requests, by experience.

    Interpolated between the points of the prior in the logarithm of the error.
    """
    (low_error, low_score), *_, (high_error, high_score) = _PRIOR
    if max_error <= low_error:
        return low_score
    if max_error >= high_error:
        return high_score
    for (error, score), (next_error, next_score) in pairwise(_PRIOR):
        if max_error <= next_error:
            part = math.log(max_error / error) / math.log(next_error / error)
            return score + part * (next_score - score)
    return high_score


def judge(
    asked: str, candidates: Sequence[Candidate], policy: Policy
) -> Iterator[tuple[int, Judgement]]:
    """Judge the candidates, the nearest first, each when it is asked for.

    Args:
        asked: The question.
        candidates: By falling cosine.
        policy: How to decide.

    Yields:
        The candidate's position and its judgement.
    """
    for position, candidate in enumerate(candidates):
        gap = _gap(position, candidates) if policy.uses_gap else None
        score = candidate.cosine
        if policy.uses_gap:
            score += GAP_WEIGHT * (GAP_CAP if gap is None else min(gap, GAP_CAP))
        found = objections(asked, candidate.question, policy.guards)
        # The largest, not the sum: several guards may see one and the same difference.
        penalty = max((objection.penalty for objection in found), default=0.0)
        required = policy.required + penalty
        yield position, Judgement(candidate.question, candidate.cosine, gap, score, required, found)


def _gap(position: int, candidates: Sequence[Candidate]) -> float | None:
    answer = candidates[position].answer
    for other in candidates:
        if not say_the_same(answer, other.answer):
            return candidates[position].cosine - other.cosine
    return None
