"""Find a stored answer for a question: exact text, then embedding, candidates and verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from prism.cache._admission.defaults import load_rules
from prism.cache._admission.rule import AdmissionRule, Gate
from prism.cache._calibration.experience import required_score
from prism.cache._calibration.rule import Rule
from prism.cache._entry import Entry
from prism.cache._evidence import careful_weights
from prism.cache._explanation import Explanation
from prism.cache._guards import GUARDS, STRICT_GUARDS
from prism.cache._keys import question_key, vouched_key
from prism.cache._reading import AnswerReader
from prism.cache._scope import Scope
from prism.cache._settings import CacheSettings
from prism.cache._shelf import Shelf
from prism.cache._verdict import Candidate, Judgement, Policy, judge
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


_NOTHING_IS_SAFE = "more is needed than any has: too many answers here were wrong of late"


@dataclass(slots=True)
class Finding:
    """What was found for one question.

    Attributes:
        key: The exact key of the question in its scope.
        entry: The entry that answers it; `None` on a miss.
        is_exact: Whether the entry holds the same text.
        vector: The question's vector; `None` if it was not embedded.
        near: The nearest entries of the scope with their cosines, the nearest first.
        judged: The candidates that were judged, the nearest first.
        best: The one that was held against the bar, with the judgement on it.
        rule: The rule that decided; `None` before that, and with a plain threshold.
        held: The admission rule that holds the question back; `None` if it is admitted.
    """

    key: bytes
    entry: Entry | None = None
    is_exact: bool = False
    vector: npt.NDArray[np.float32] | None = None
    near: list[tuple[Entry, float]] = field(default_factory=list)
    judged: tuple[Judgement, ...] = ()
    best: tuple[Entry, Judgement] | None = None
    rule: Rule | None = None
    held: AdmissionRule | None = None

    @property
    def blocking_guard(self) -> str | None:
        """The guard without whose objection the nearest candidate would have been a hit."""
        if self.entry is not None or not self.judged or self.rule is None:
            return None
        nearest = self.judged[0]
        if not nearest.objections or nearest.score_without_doubt(self.rule) < self.rule.bar:
            return None
        return nearest.objections[0].guard


class Finder:
    """Looks questions up. Safe for threads; takes no lock of its own.

    Args:
        settings: What the user chose.
        shelf: Where entries are.
        embedder: What makes vectors.
        reader: What made vectors of answers.
        rule_of: Gives the rule in force for a family of scopes; the fixed one if `None`.
        rule_failed: Told of what an admission rule raised.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        shelf: Shelf,
        embedder: Embedder,
        reader: AnswerReader,
        rule_of: Callable[[bytes], Rule] | None = None,
        rule_failed: Callable[[Exception], object],
    ) -> None:
        self._shelf = shelf
        self._embedder = embedder
        self._reader = reader
        # Asking a protocol at each question would take a tenth of the decision's time.
        self._is_selective = isinstance(embedder, SelectiveEmbedder)
        self._threshold = settings.similarity_threshold
        if settings.admission:
            load_rules()
        self._gate = Gate(settings.admission)
        self._rule_failed = rule_failed
        self._guards = STRICT_GUARDS if settings.strict else GUARDS
        fixed = Rule(weights=careful_weights(), bar=required_score(settings.max_error))
        self._rule_of = rule_of if rule_of is not None else lambda _: fixed

    def unsought(self, scope: Scope, question: str) -> Finding:
        """Begin a search: nothing is known but the key."""
        return Finding(question_key(scope, question))

    def find_exact(self, finding: Finding) -> None:
        """Look for the same text and note it in `finding`. Cost: microseconds."""
        finding.entry = self._shelf.exact(finding.key)
        finding.is_exact = finding.entry is not None

    def admit(self, scope: Scope, question: str, finding: Finding) -> bool:
        """Ask the admission rules about a question that was looked up by its text.

        What they refuse finds only what its caller put under this very text. An entry that was
        found is asked about once: the rules say the same of the same text in the same scope.

        Returns:
            Whether the cache takes part; if not, `finding` has the rule, and what was put.
        """
        entry = finding.entry
        if entry is not None and entry.is_admitted:
            return True
        finding.held = rule = self._gate.holding(question, scope, failed=self._rule_failed)
        if rule is None or rule.allows == "exact":
            if entry is not None:
                entry.is_admitted = True
            return True
        finding.entry = self._shelf.exact(vouched_key(scope, question))
        finding.is_exact = finding.entry is not None
        return False

    def find_similar(
        self, scope: Scope, question: str, finding: Finding, *, judges_all: bool = False
    ) -> Entry | None:
        """Look for another wording, and add what is found to `finding`.

        Cost: one embedding (milliseconds with MiniLM), then well under a millisecond.

        Args:
            scope: What must match exactly.
            question: What is asked.
            finding: In which the same text was not found.
            judges_all: Judge those too that cannot be the best, for `explain`.

        Returns:
            The entry that answers it, if any.
        """
        if finding.held is not None:
            return None
        if finding.vector is None:
            finding.vector = self.embed(question)
        if finding.vector is None:
            return None
        finding.near = near = self._shelf.near(finding.vector, scope.key)
        cosines = self._answer_cosines(question, finding.vector, near)
        candidates = [
            Candidate(entry.question, cosine, entry.sketch, entry.group, answer_cosine)
            for (entry, cosine), answer_cosine in zip(near, cosines, strict=True)
        ]
        rule = self._rule_of(scope.family)
        policy = Policy(rule, self._guards, self._threshold)
        verdict = judge(question, candidates, policy, judges_all=judges_all)
        finding.rule = rule if self._threshold is None else None
        finding.judged = tuple(judgement for _, judgement in verdict.judged)
        if verdict.best is not None and verdict.judgement is not None:
            finding.best = near[verdict.best][0], verdict.judgement
            if verdict.judgement.is_accepted:
                finding.entry = finding.best[0]
        return finding.entry

    def explain(
        self, scope: Scope, question: str, *, admit: bool = False
    ) -> tuple[Finding, Explanation]:
        """Look a question up and tell everything that the decision rests on."""
        finding = self.unsought(scope, question)
        self.find_exact(finding)
        is_admitted = admit or self.admit(scope, question, finding)
        held = finding.held
        if held is not None and not is_admitted and finding.entry is None:
            return finding, Explanation(
                question=question,
                decision="refused",
                reason=f"the {held.name} rule refuses it: {held.reason}",
                admission_rule=held.name,
            )
        if finding.entry is not None:
            reason = (
                "the same text was asked and answered before in this scope"
                if is_admitted
                else "an answer was put under this very text"
            )
            return finding, Explanation(
                question=question, decision="exact", reason=reason, matched=finding.entry.question
            )
        if held is not None:
            return finding, Explanation(
                question=question,
                decision="miss",
                reason=f"the {held.name} rule: {held.reason}",
                admission_rule=held.name,
            )
        entry = self.find_similar(scope, question, finding, judges_all=True)
        rule = finding.rule
        return finding, Explanation(
            question=question,
            decision="miss" if entry is None else "similar",
            reason=_reason(finding) if finding.vector is not None else _NOT_COMPARED,
            matched=None if entry is None else entry.question,
            required=self._threshold if rule is None else rule.bar,
            required_by="threshold" if rule is None else rule.origin,
            weighed_by=None if rule is None else rule.weighing,
            error_estimate=None if rule is None else rule.error_estimate,
            error_bound=None if rule is None else rule.error_bound,
            labels=0 if rule is None else rule.labels,
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
        if self._is_selective and not cast("SelectiveEmbedder", self._embedder).reads(question):
            return None
        rows = np.asarray(self._embedder.embed([question]), dtype=np.float32)
        if rows.shape != (1, self._embedder.dim) or not np.isfinite(rows).all():
            raise EmbeddingError(
                f"{self._embedder.model_id} gave shape {rows.shape} for one text, or numbers that "
                f"are not finite; expected are (1, {self._embedder.dim})"
            )
        vector: npt.NDArray[np.float32] = rows[0]
        return vector

    def _answer_cosines(
        self,
        question: str,
        vector: npt.NDArray[np.float32],
        near: Sequence[tuple[Entry, float]],
    ) -> list[float | None]:
        """Compare the question with the answers, each in the space in which it was read.

        One by one: for a product of all at once numpy lets other threads have the interpreter, and
        to get it back may take some milliseconds.
        """
        cosines: list[float | None] = []
        width, read, read_width = len(vector), None, 0
        for entry, _ in near:
            meaning = entry.meaning
            if meaning is None:
                cosines.append(None)
                continue
            own_width = len(meaning)
            if own_width != width and read is None:
                read = self._reader.question(question)
                read_width = 0 if read is None else len(read)
            if own_width == width:
                cosines.append(float(meaning @ vector))
            else:
                cosines.append(
                    float(meaning @ read) if read is not None and own_width == read_width else None
                )
        return cosines


def _reason(finding: Finding) -> str:
    if not finding.judged:
        return "nothing is stored in this scope yet"
    if finding.best is None:
        nearest = finding.judged[0]
        if nearest.veto is None:
            return "guards forbid all candidates"
        return f"the {nearest.veto.guard} guard forbids it: {nearest.veto.reason}"
    best = finding.best[1]
    needed = f"{best.required:.3f} is needed" if math.isfinite(best.required) else _NOTHING_IS_SAFE
    if best.is_accepted:
        return f"scored {best.score:.3f} where {needed}"
    doubts = "; ".join(f"{o.guard}: {o.reason}" for o in best.objections)
    which = "nearest" if best is finding.judged[0] else "best"
    return f"the {which} stored question scored {best.score:.3f} where {needed}" + (
        f" ({doubts})" if doubts else ""
    )
