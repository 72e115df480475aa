"""Why a question was a hit or a miss, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prism.cache._verdict import Judgement

__all__ = ["Explanation", "Lookup"]

# Candidates that a printed explanation shows; the object has all of them.
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything a decision rested on.

    Attributes:
        question: As it was asked.
        decision: `exact` for the same text, `similar` for another wording, else `miss`.
        reason: The decision in one sentence.
        matched: The stored question whose answer is served; `None` on a miss.
        required: Score a hit needs before any penalty; a cosine if `similarity_threshold` is set.
        candidates: The nearest stored questions, judged, the nearest first. Empty when the exact
            tier decided, or when nothing is stored in this scope.
    """

    question: str
    decision: Literal["exact", "similar", "miss"]
    reason: str
    matched: str | None = None
    required: float | None = None
    candidates: tuple[Judgement, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.decision}: {self.question}", f"  {self.reason}"]
        if self.candidates:
            lines.append(f"  {'stored question':<50} cosine    gap  score  needs")
        for candidate in self.candidates[:_SHOWN]:
            gap = "-" if candidate.gap is None else f"{candidate.gap:+.2f}"
            needs = "veto" if candidate.veto else f"{candidate.required:.3f}"
            mark = "*" if candidate.question == self.matched else " "
            lines.append(
                f" {mark}{_cut(candidate.question, 50):<50}{candidate.cosine:7.3f}{gap:>7}"
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


def _cut(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
