"""What speaks for and against a stored answer, in numbers.

A `Kind` measures one thing about one candidate among its neighbours. The verdict adds the kinds up
with weights: the careful common ones that stand here, or what the calibrator learned for the scope.
To add a kind, write its measure and append it to `KINDS`; with a careful weight of 0 it changes
nothing until a scope's own labels give it one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul

from prism.cache._language.words import analyse

__all__ = ["KINDS", "AnswerGroup", "Kind", "Neighbourhood", "careful_weights", "measure"]

GAP_CAP = 0.1
# Neighbours weigh e times less for each so much of cosine, or for half of it. Between a half and
# twice these the results on BANKING77 and CLINC150 hardly move; the two together tell a dense crowd
# from a sparse.
_WIDE = 0.08
# Of the group's members, those nearest: one chance likeness is common, three are not.
_NEAREST = 3


class AnswerGroup:
    """What the neighbours say of one answer: the same for all candidates that have it.

    Attributes:
        is_same: For each neighbour whether it has this answer, in other words perhaps.
        rival: Cosine of the best neighbour with another answer; `None` without one.
        answer_gap: How much nearer to the question this answer is than any other; `None` if that
            is not known.
        nearest: Cosines of the neighbours with this answer, the nearest first.
    """

    __slots__ = ("_cosines", "_supports", "answer_gap", "is_same", "nearest", "rival")

    def __init__(
        self,
        is_same: Sequence[bool],
        cosines: Sequence[float],
        answer_cosines: Sequence[float | None],
    ) -> None:
        """Measure in one walk. Cost: about 3 us for 16 neighbours.

        Args:
            is_same: See above.
            cosines: Of all neighbours to the asked question, falling.
            answer_cosines: Of all neighbours' answers to it; `None` where not known.
        """
        self.is_same = is_same
        self.nearest: list[float] = []
        self.rival: float | None = None
        self._cosines = cosines
        self._supports: tuple[float, float] | None = None
        own = others = -math.inf
        for same, cosine, answer_cosine in zip(is_same, cosines, answer_cosines, strict=True):
            if same:
                self.nearest.append(cosine)
                if answer_cosine is not None and answer_cosine > own:
                    own = answer_cosine
            else:
                if self.rival is None:
                    self.rival = cosine
                if answer_cosine is not None and answer_cosine > others:
                    others = answer_cosine
        is_known = own > -math.inf and others > -math.inf
        self.answer_gap = own - others if is_known else None

    @property
    def supports(self) -> tuple[float, float]:
        """Share of this answer's neighbours, where near ones count more: steeply, and less so."""
        if self._supports is None:
            top = self._cosines[0]
            wide = [math.exp((cosine - top) / _WIDE) for cosine in self._cosines]
            # Half the width squares each.
            own = [share for share, same in zip(wide, self.is_same, strict=True) if same]
            self._supports = (
                sum(map(mul, own, own)) / sum(map(mul, wide, wide)),
                sum(own) / sum(wide),
            )
        return self._supports


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """One candidate among the stored questions near the asked one.

    Attributes:
        asked: The question.
        stored: The candidate's question.
        cosine: Of the two.
        group: What the neighbours say of its answer.
    """

    asked: str
    stored: str
    cosine: float
    group: AnswerGroup

    @property
    def gap(self) -> float | None:
        """The candidate's lead over the best neighbour with another answer; `None` without one."""
        rival = self.group.rival
        return None if rival is None else self.cosine - rival

    @property
    def answer_gap(self) -> float | None:
        """The same of its answer: how much nearer to the question than any other answer is."""
        return self.group.answer_gap


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of evidence.

    Attributes:
        name: Short name, used in explanations and saved states.
        measure: Puts it into a number, from the neighbourhood and the guards' largest penalty.
        careful: Its weight in the common rule.
        direction: 1 if more of it never speaks against a hit, -1 if never for one.
        scale: A usual difference, in its own unit: what its learned weight is measured in.
    """

    name: str
    measure: Callable[[Neighbourhood, float], float]
    careful: float
    direction: int
    scale: float


def measure(found: Neighbourhood, doubt: float) -> tuple[float, ...]:
    """Measure all kinds, where `doubt` is the guards' largest penalty. Cost: about 15 us."""
    return tuple([kind.measure(found, doubt) for kind in KINDS])


def careful_weights() -> tuple[float, ...]:
    """The common rule, in the order of `KINDS`."""
    return tuple(kind.careful for kind in KINDS)


def _cosine(found: Neighbourhood, _: float) -> float:
    return found.cosine


def _lead(cap: float) -> Callable[[Neighbourhood, float], float]:
    def lead(found: Neighbourhood, _: float) -> float:
        gap = found.gap
        return cap if gap is None else min(gap, cap)

    return lead


def _answer_lead(found: Neighbourhood, _: float) -> float:
    gap = found.answer_gap
    return 0.0 if gap is None else max(-GAP_CAP, min(gap, GAP_CAP))


def _support(found: Neighbourhood, _: float) -> float:
    return found.group.supports[0]


def _wide_support(found: Neighbourhood, _: float) -> float:
    return found.group.supports[1]


def _company(found: Neighbourhood, _: float) -> float:
    nearest = found.group.nearest[:_NEAREST]
    return sum(nearest) / len(nearest)


def _number(found: Neighbourhood, _: float) -> float:
    return math.log(len(found.group.nearest))


def _overlap(found: Neighbourhood, _: float) -> float:
    ours, theirs = analyse(found.asked).content, analyse(found.stored).content
    either = len(ours | theirs)
    return len(ours & theirs) / either if either else 1.0


def _additions(found: Neighbourhood, _: float) -> float:
    ours, theirs = analyse(found.asked).content, analyse(found.stored).content
    return float(min(len(ours - theirs), 8))


def _doubt(_: Neighbourhood, doubt: float) -> float:
    return doubt


KINDS: tuple[Kind, ...] = (
    Kind("cosine", _cosine, careful=1.0, direction=1, scale=0.1),
    Kind("lead", _lead(GAP_CAP), careful=2.0, direction=1, scale=0.05),
    Kind("answer lead", _answer_lead, careful=1.0, direction=1, scale=0.05),
    Kind("doubt", _doubt, careful=-1.0, direction=-1, scale=0.05),
    Kind("wide lead", _lead(2.5 * GAP_CAP), careful=0.0, direction=1, scale=0.1),
    Kind("support", _support, careful=0.0, direction=1, scale=0.25),
    Kind("wide support", _wide_support, careful=0.0, direction=1, scale=0.25),
    Kind("company", _company, careful=0.0, direction=1, scale=0.1),
    Kind("number", _number, careful=0.0, direction=1, scale=1.0),
    Kind("overlap", _overlap, careful=0.0, direction=1, scale=0.25),
    Kind("additions", _additions, careful=0.0, direction=-1, scale=2.0),
)
"""All kinds. Careful weights: cosine, lead and doubt were the best untrained rule on BANKING77,
CLINC150 and two sets that were held out. The answer lead compares the question with the answers
themselves; its weight is the cosine's own, being a difference of cosines: half of it and twice of
it find 169 and 199 of the demo's 299 other wordings before the first wrong one, it finds 193 and
the rule without it 133."""
