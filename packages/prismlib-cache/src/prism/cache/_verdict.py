"""Does one of these stored questions ask the same? The decision, and all it rests on.

    evidence = what `_evidence` measures of a candidate among its neighbours
    score    = the evidence, weighed by the rule in force
    hit        if score >= bar and no guard vetoes

The rule in force comes from the scope's calibrator (`_calibration`). Until that has learned, it is
the best untrained one on BANKING77, CLINC150 and two sets that were held out,

    score = cosine + 2 * min(gap, 0.1) + min(gap of the answers, 0.1) - doubt of the guards

where a gap is the lead over the best neighbour with a different answer. It measures ambiguity: a
cosine of .85 means more when the next other answer is at .60 than at .84. It is capped, since
beyond .1 a larger gap was no better evidence. Without any other answer among the neighbours the
questions' gap counts as full and the answers' as none.

Which candidate is held against the bar does not depend on what was learned: always the one with the
best careful score. So what is recorded of one rule's traffic can be used to judge another rule.

With a plain similarity threshold none of this applies: the cosine alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from prism.cache._answers import AnswerSketch, say_the_same
from prism.cache._calibration.rule import Rule
from prism.cache._evidence import (
    GAP_CAP,
    KINDS,
    AnswerGroup,
    Neighbourhood,
    careful_weights,
    measure,
)
from prism.cache._guards import Guard, Objection, objections

__all__ = ["Candidate", "Judgement", "Policy", "Verdict", "judge"]

# Candidates that can be the best: so many groups of answers, the nearest first, and of each so many
# entries. Guards may veto the nearest of them.
_GROUPS = 4
_OF_A_GROUP = 2
_CAREFUL = careful_weights()
_COSINE, _LEAD, _ANSWER_LEAD = (
    next(kind.careful for kind in KINDS if kind.name == name)
    for name in ("cosine", "lead", "answer lead")
)
_by_score = itemgetter(0)
_DOUBT = [kind.name for kind in KINDS].index("doubt")


class Candidate(NamedTuple):
    """A stored question near the asked one. A tuple: sixteen are made for each question.

    Attributes:
        question: As it was asked when it was stored.
        cosine: To the asked question.
        answer: Sketch of its answer.
        group: The group of answers that say the same, to which its answer belongs.
        answer_cosine: Of its answer to the asked question; `None` if not known.
    """

    question: str
    cosine: float
    answer: AnswerSketch
    group: bytes = b""
    answer_cosine: float | None = None

    def shares_its_answer(self, others: Sequence[Candidate]) -> list[bool]:
        """Tell of each of the others, of which it may be one, whether it has the same answer."""
        _, _, answer, group, cosine = self
        digest, is_read = answer.digest, cosine is not None
        return [
            (their_group == group and bool(group))
            or theirs.digest == digest
            # Two that were read were compared when they were stored.
            or (not (is_read and their_cosine is not None) and say_the_same(answer, theirs))
            for _, _, theirs, their_group, their_cosine in others
        ]


@dataclass(frozen=True, slots=True)
class Policy:
    """How to decide.

    Attributes:
        rule: What evidence weighs, and the bar.
        guards: What may object.
        threshold: A plain cosine that decides alone, in place of all that.
    """

    rule: Rule
    guards: tuple[Guard, ...]
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision on one candidate.

    Attributes:
        question: The stored question.
        cosine: Its cosine to the asked one.
        gap: Its lead over the best candidate with a different answer; `None` if there is none.
        score: What was reached, after the guards' doubts.
        required: What was needed; infinite after a veto.
        objections: What the guards found.
        answer_gap: How much nearer to the question its answer is than any different answer; `None`
            if that is not known.
        evidence: All that was measured, in the order of the kinds of evidence; empty with a plain
            threshold.
    """

    question: str
    cosine: float
    gap: float | None
    score: float
    required: float
    objections: tuple[Objection, ...]
    answer_gap: float | None = None
    evidence: tuple[float, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the stored answer may be served."""
        return self.score >= self.required

    def score_without_doubt(self, rule: Rule) -> float:
        """What would have been reached had no guard objected."""
        return self.score - rule.weights[_DOUBT] * self.evidence[_DOUBT]

    @property
    def veto(self) -> Objection | None:
        """The first objection that no score outweighs, if any."""
        return next((objection for objection in self.objections if objection.is_veto), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the candidates.

    Attributes:
        judged: Places of candidates and the judgements on them, the nearest first.
        best: Place of the one that was held against the bar; `None` if guards veto all of them.
        judgement: The judgement on that one.
    """

    judged: tuple[tuple[int, Judgement], ...]
    best: int | None = None
    judgement: Judgement | None = None


def judge(
    asked: str, candidates: Sequence[Candidate], policy: Policy, *, judges_all: bool = False
) -> Verdict:
    """Judge the candidates.

    Cost: about 150 us for 16 candidates whose texts are analysed already.

    Args:
        asked: The question.
        candidates: By falling cosine.
        policy: How to decide.
        judges_all: Judge those too that cannot be the best, for `explain`.
    """
    if policy.threshold is not None:
        judged = tuple(
            (place, Judgement(c.question, c.cosine, None, c.cosine, policy.threshold, ()))
            for place, c in enumerate(candidates if judges_all else candidates[:1])
        )
        best = judged[0] if judged else (None, None)
        return Verdict(judged, *best)
    found = _promising(candidates, everything=judges_all)
    judgements: dict[int, Judgement] = {}
    best_place, best_score = None, -math.inf
    # Of equals the nearest first: sorting keeps their order.
    for careful, place, group in sorted(found, key=_by_score, reverse=True):
        if careful <= best_score and not judges_all:
            break
        judgement, doubted = _judged(asked, candidates[place], group, policy, careful)
        judgements[place] = judgement
        if judgement.veto is None and doubted > best_score:
            best_place, best_score = place, doubted
    return Verdict(
        tuple(sorted(judgements.items())),
        best_place,
        None if best_place is None else judgements[best_place],
    )


def _promising(
    candidates: Sequence[Candidate], *, everything: bool
) -> list[tuple[float, int, AnswerGroup]]:
    """Give careful scores, places and answer groups of the candidates that can be the best."""
    if not candidates:
        return []
    _, cosines, answers, names, answer_cosines = zip(*candidates, strict=True)
    are_read = None not in answer_cosines
    digests = [answer.digest for answer in answers]
    groups: list[AnswerGroup] = []
    taken: list[int] = []
    # The first group that each place is of.
    numbers: list[int | None] = [None] * len(candidates)
    found = []
    for place, candidate in enumerate(candidates):
        number = numbers[place]
        if number is None:
            if len(groups) == _GROUPS and not everything:
                continue
            number = len(groups)
            name, digest = candidate.group, digests[place]
            if are_read and name:
                # The usual case of `shares_its_answer`, at a third of the time.
                is_same = [
                    other == name or theirs == digest
                    for other, theirs in zip(names, digests, strict=True)
                ]
            else:
                is_same = candidate.shares_its_answer(candidates)
            numbers = [
                number if same and known is None else known
                for same, known in zip(is_same, numbers, strict=True)
            ]
            groups.append(AnswerGroup(is_same, cosines, answer_cosines))
            taken.append(0)
        if taken[number] == _OF_A_GROUP and not everything:
            continue
        taken[number] += 1
        group = groups[number]
        rival, cosine = group.rival, candidate.cosine
        careful = (
            _COSINE * cosine
            + _LEAD * (GAP_CAP if rival is None else min(cosine - rival, GAP_CAP))
            + _ANSWER_LEAD * max(-GAP_CAP, min(group.answer_gap or 0.0, GAP_CAP))
        )
        found.append((careful, place, group))
    return found


def _judged(
    asked: str, candidate: Candidate, group: AnswerGroup, policy: Policy, careful: float
) -> tuple[Judgement, float]:
    """Judge one candidate; give its careful score after the guards' doubts too."""
    neighbourhood = Neighbourhood(asked, candidate.question, candidate.cosine, group)
    objected = objections(asked, candidate.question, policy.guards)
    # The largest, not the sum: several guards may see one and the same difference.
    doubt = max((objection.penalty for objection in objected), default=0.0)
    is_vetoed = math.isinf(doubt)
    evidence = measure(neighbourhood, 0.0 if is_vetoed else doubt)
    judgement = Judgement(
        candidate.question,
        candidate.cosine,
        neighbourhood.gap,
        policy.rule.score(evidence),
        math.inf if is_vetoed else policy.rule.bar,
        objected,
        neighbourhood.answer_gap,
        evidence,
    )
    return judgement, careful + _CAREFUL[_DOUBT] * evidence[_DOUBT]
