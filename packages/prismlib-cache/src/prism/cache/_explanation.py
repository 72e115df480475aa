"""Why a question was a hit or a miss, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prism.cache._verdict import Judgement

__all__ = ["Explanation", "Lookup"]

# Candidates that a printed explanation shows; the object has all of them.
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything a decision rested on.

    Attributes:
        question: As it was asked.
        decision: `exact` for the same text, `similar` for another wording, `refused` where an
            admission rule keeps the question from being looked up, else `miss`.
        reason: The decision in one sentence.
        matched: The stored question whose answer is served; `None` on a miss.
        required: Score a hit needs; a cosine if `similarity_threshold` is set, infinite while too
            many answers of the scope are wrong for any hit.
        required_by: What that rests on: `experience` elsewhere, `labels` of this scope, or the
            `threshold` that was set. `None` when the exact tier decided.
        weighed_by: What the weights of the evidence rest on, likewise.
        error_estimate: Estimated share of all requests of this scope that are answered wrongly
            under this rule; `None` while nothing is known.
        error_bound: Upper confidence bound of that; at most `max_error` from 600 labels on.
        labels: Questions of this scope whose truth is known and rests behind the rule.
        admission_rule: The rule that refuses the question, or lets only the same text hit; `None`
            if there is none, or the same text was found.
        candidates: The nearest stored questions, judged, the nearest first. Empty when the exact
            tier decided, or when nothing is stored in this scope.
    """

    question: str
    decision: Literal["exact", "similar", "miss", "refused"]
    reason: str
    matched: str | None = None
    required: float | None = None
    required_by: Literal["experience", "labels", "threshold"] | None = None
    weighed_by: Literal["experience", "labels"] | None = None
    error_estimate: float | None = None
    error_bound: float | None = None
    labels: int = 0
    admission_rule: str | None = None
    candidates: tuple[Judgement, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.decision}: {self.question}", f"  {self.reason}"]
        if self.error_bound is not None:
            lines.append(
                f"  bar {self.required:.3f} from {self.labels} labels: wrong answers are estimated "
                f"at {self.error_estimate:.2%} of requests, at most {self.error_bound:.2%}"
            )
        elif self.required_by == "experience":
            lines.append(
                f"  bar {self.required:.3f} from experience elsewhere: nothing learned yet"
            )
        if self.candidates:
            lines.append(f"  {'stored question':<46} cosine    gap answer  score  needs")
        for candidate in self.candidates[:_SHOWN]:
            needs = "veto" if candidate.veto else f"{candidate.required:.3f}"
            mark = "*" if candidate.question == self.matched else " "
            lines.append(
                f" {mark}{_cut(candidate.question, 46):<46}{candidate.cosine:7.3f}"
                f"{_signed(candidate.gap):>7}{_signed(candidate.answer_gap):>7}"
                f"{candidate.score:7.3f}{needs:>7}"
            )
            lines += [f"      {found.guard}: {found.reason}" for found in candidate.objections]
        if len(self.candidates) > _SHOWN:
            lines.append(f"  and {len(self.candidates) - _SHOWN} less near ones")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What the cache has for a question, without a call to the model.

    Attributes:
        hit: Whether an answer is stored that may be served.
        answer: That answer, a fresh copy; `None` on a miss. A stored stream gives its whole text,
            or the list of its chunks if they are not strings.
        age_s: Seconds since that answer was stored; `None` on a miss.
        explanation: Why.
    """

    hit: bool
    answer: object = None
    age_s: float | None = None
    explanation: Explanation


def _signed(gap: float | None) -> str:
    return "-" if gap is None else f"{gap:+.2f}"


def _cut(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
