"""Lessons, and those of them that wait for a judge."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prism.cache._answers import AnswerSketch
from prism.cache._call import Call
from prism.cache._codec import EncodedAnswer
from prism.cache._entry import Entry
from prism.cache._families import Family
from prism.cache._metrics import Ledger
from prism.cache._reply import Reply
from prism.cache._worker import Worker

if TYPE_CHECKING:
    import asyncio

    import numpy as np
    import numpy.typing as npt

__all__ = ["Docket", "Lesson"]

# Lessons that may wait for a judge, who may take a second for each. What comes when all places are
# taken gets the place of one drawn at random: what is judged is recent, however far the judge is
# behind, and which of the recent it is depends on nothing but the draw.
_WAIT_FOR_JUDGE = 256


@dataclass(frozen=True, slots=True)
class Lesson:
    """A fresh answer beside the stored one that nearly was or has been served.

    Attributes:
        name: Of the family.
        call: The question.
        entry: The fresh answer's own entry, while it is stored.
        text: The fresh answer.
        fresh: Its sketch.
        meaning: Its vector.
        reply: What a check brought; `None` of a miss.
    """

    name: bytes
    family: Family
    call: Call
    entry: Entry | None
    text: str
    fresh: AnswerSketch
    meaning: npt.NDArray[np.float32] | None
    loop: asyncio.AbstractEventLoop | None
    reply: tuple[Reply[Any], EncodedAnswer] | None = None


class Docket:
    """Has lessons judged one by one, and lets other work have its turn between two.

    Used by the worker's thread alone.

    Attributes:
        is_judging: Whether a lesson waits, or is before the judge.

    Args:
        worker: Does the work.
        ledger: Where lessons that lost their place are counted.
        judge: Has one lesson judged.
    """

    def __init__(self, worker: Worker, *, ledger: Ledger, judge: Callable[[Lesson], None]) -> None:
        self._worker = worker
        self._ledger = ledger
        self._judge = judge
        self._waiting: deque[Lesson] = deque()
        self._draw = random.Random(0)  # noqa: S311  for nothing that must be hard to guess
        self.is_judging = False

    def put(self, lesson: Lesson) -> None:
        """Let a lesson wait for the judge, or take a waiting one's place."""
        if len(self._waiting) >= _WAIT_FOR_JUDGE:
            self._ledger.count("labels_dropped")
            self._waiting[self._draw.randrange(_WAIT_FOR_JUDGE)] = lesson
        else:
            self._waiting.append(lesson)
        if not self.is_judging:
            self.is_judging = self._worker.do(self._next, even_if_full=True)

    def _next(self) -> None:
        """Have one lesson judged, then let other work have its turn before the next."""
        try:
            self._judge(self._waiting.popleft())
        finally:
            self.is_judging = bool(self._waiting) and self._worker.do(self._next, even_if_full=True)
