"""Find a stored answer for a question: exact text, then embedding, candidates and verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prism.cache._explanation import Explanation
from prism.cache._guards import GUARDS, STRICT_GUARDS
from prism.cache._scope import Scope, question_key
from prism.cache._settings import CacheSettings
from prism.cache._shelf import Entry, Shelf
from prism.cache._verdict import Candidate, Judgement, Policy, judge, required_score
from prismresonance.embed import Embedder, SelectiveEmbedder
from prismresonance.errors import EmbeddingError

__all__ = ["Finder", "Finding"]

# Longer texts are documents with a question somewhere in them. What they share outweighs where they
# differ, so no cosine tells them apart; and the guards read no further.
_LONGEST_QUESTION = 1_000
_NOT_COMPARED = (
    "only the same text could hit: this one is too long for a question, or the embedder cannot "
    "read it whole"
)


@dataclass(slots=True)
class Finding:
    """What was found for one question.

    Attributes:
        key: The exact key of the question in its scope.
        entry: The entry that answers it; `None` on a miss.
        is_exact: Whether the entry holds the same text.
        vector: The question's vector; `None` if it was not embedded.
        judged: The candidates that were judged, the nearest first.
        required: Score a hit needed, before penalties.
    """

    key: bytes
    entry: Entry | None = None
    is_exact: bool = False
    vector: npt.NDArray[np.float32] | None = None
    judged: tuple[Judgement, ...] = ()
    required: float = 0.0

    @property
    def blocking_guard(self) -> str | None:
        """The guard without whose objection the nearest candidate would have been a hit."""
        if self.entry is not None or not self.judged:
            return None
        nearest = self.judged[0]
        if not nearest.objections or nearest.score < self.required:
            return None
        return nearest.objections[0].guard


class Finder:
    """Looks questions up. Safe for threads; takes no lock of its own."""

    def __init__(self, settings: CacheSettings, *, shelf: Shelf, embedder: Embedder) -> None:
        self._shelf = shelf
        self._embedder = embedder
        if settings.similarity_threshold is not None:
            self.policy = Policy(settings.similarity_threshold, guards=(), uses_gap=False)
        else:
            guards = STRICT_GUARDS if settings.strict else GUARDS
            self.policy = Policy(required_score(settings.max_error), guards)

    def unsought(self, scope: Scope, question: str) -> Finding:
        """Begin a search: nothing is known but the key."""
        return Finding(question_key(scope, question), required=self.policy.required)

    def find_exact(self, finding: Finding) -> None:
        """Look for the same text and note it in `finding`. Cost: microseconds."""
        finding.entry = self._shelf.exact(finding.key)
        finding.is_exact = finding.entry is not None

    def find_similar(
        self, scope: Scope, question: str, finding: Finding, *, judges_all: bool = False
    ) -> Entry | None:
        """Look for another wording, and add what is found to `finding`.

        Cost: one embedding (milliseconds with MiniLM), then well under a millisecond.

        Args:
            scope: What must match exactly.
            question: What is asked.
            finding: In which the same text was not found.
            judges_all: Go on after the first hit and below every chance of one, for `explain`.

        Returns:
            The entry that answers it, if any.
        """
        if finding.vector is None:
            finding.vector = self.embed(question)
        if finding.vector is None:
            return None
        near = self._shelf.near(finding.vector, scope.key)
        candidates = [Candidate(e.question, cosine, e.sketch) for e, cosine in near]
        judged: list[Judgement] = []
        for position, judgement in judge(question, candidates, self.policy):
            has_chance = judgement.cosine + self.policy.largest_bonus >= self.policy.required
            if not has_chance and judged and not judges_all:
                break
            judged.append(judgement)
            if judgement.is_accepted and finding.entry is None:
                finding.entry = near[position][0]
                if not judges_all:
                    break
        finding.judged = tuple(judged)
        return finding.entry

    def explain(self, scope: Scope, question: str) -> tuple[Finding, Explanation]:
        """Look a question up and tell everything that the decision rests on."""
        finding = self.unsought(scope, question)
        self.find_exact(finding)
        if finding.entry is not None:
            reason = "the same text was asked and answered before in this scope"
            return finding, Explanation(
                question=question, decision="exact", reason=reason, matched=finding.entry.question
            )
        entry = self.find_similar(scope, question, finding, judges_all=True)
        return finding, Explanation(
            question=question,
            decision="miss" if entry is None else "similar",
            reason=_reason(finding.judged) if finding.vector is not None else _NOT_COMPARED,
            matched=None if entry is None else entry.question,
            required=self.policy.required,
            candidates=finding.judged,
        )

    def embed(self, question: str) -> npt.NDArray[np.float32] | None:
        """Embed one question: a unit vector, zeros if the model sees nothing in it.

        Returns:
            `None` if the question is not to be compared: longer than a question is, or not seen
            whole by the embedder, to whom two such texts may look the same.

        Raises:
            EmbeddingError: The embedder gave something else than one finite vector of its width.
        """
        if len(question) > _LONGEST_QUESTION:
            return None
        if isinstance(self._embedder, SelectiveEmbedder) and not self._embedder.reads(question):
            return None
        rows = np.asarray(self._embedder.embed([question]), dtype=np.float32)
        if rows.shape != (1, self._embedder.dim) or not np.isfinite(rows).all():
            raise EmbeddingError(
                f"{self._embedder.model_id} gave shape {rows.shape} for one text, or numbers that "
                f"are not finite; expected are (1, {self._embedder.dim})"
            )
        vector: npt.NDArray[np.float32] = rows[0]
        return vector


def _reason(judged: tuple[Judgement, ...]) -> str:
    if not judged:
        return "nothing is stored in this scope yet"
    hit = next((judgement for judgement in judged if judgement.is_accepted), None)
    if hit is not None:
        return f"scored {hit.score:.3f} where {hit.required:.3f} is needed"
    nearest = judged[0]
    if nearest.veto is not None:
        return f"the {nearest.veto.guard} guard forbids it: {nearest.veto.reason}"
    doubts = "; ".join(f"{o.guard}: {o.reason}" for o in nearest.objections)
    return (
        f"the nearest stored question scored {nearest.score:.3f} where {nearest.required:.3f} is "
        f"needed" + (f" ({doubts})" if doubts else "")
    )
