"""What the cache learns from its traffic, beside the questions: groups, labels, rules.

    miss ──▶ answer stored ─▶ embed it ─▶ join the groups that say the same ─▶ label ─▶ calibrator
    hit ───▶ now and then the model is asked again ──────────────────────────▶ label ─▶ calibrator
    feedback ────────────────────────────────────────────────────────────────▶ report ▶ calibrator

A question hands in what it knows and goes on; one worker does the rest. The rule that comes of it
is read without a lock. Nothing here can fail a question: failures are counted as `learning` or
`judge` and logged, and what could not be learned is not learned.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prism.cache._answers import sketch
from prism.cache._calibration.calibrator import is_checked
from prism.cache._calibration.rule import Rule
from prism.cache._call import Call
from prism.cache._checks import Again, AgainAsync, Checks, running_loop
from prism.cache._codec import EncodedAnswer
from prism.cache._entry import text_of
from prism.cache._families import STATE_NOTE, Families, Family
from prism.cache._grouping import Grouping, unpacked_note
from prism.cache._judging import Judge, ask_judge
from prism.cache._lessons import Docket, Lesson
from prism.cache._metrics import Ledger
from prism.cache._pricing import PriceBook
from prism.cache._reading import AnswerReader
from prism.cache._reply import Reply
from prism.cache._settings import CacheSettings
from prism.cache._shelf import Shelf
from prism.cache._verdict import Judgement
from prism.cache._worker import Worker
from prism.cache.store._notes import ENTRY_NOTE

if TYPE_CHECKING:
    import asyncio

__all__ = ["Learner"]

# Hits alone move no bar; they are looked at so often, for the share of checks.
_LOOK_EVERY = 512
# Entries that came too fast to be placed in groups, and are placed when there is time.
_LEFT_OUT = 1024


class Learner:
    """See the module. Safe for threads and tasks.

    Args:
        settings: What the user chose.
        shelf: Where entries are.
        reader: What makes vectors of answers.
        judge: The user's judge, if any.
        ledger: Where things are counted.
        check_prices: Where the cost of checks is added up.
        survive: Wraps a piece of work: counts and logs what fails in it.
        store: Stores the right answer to a question whose hit was found wrong.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        shelf: Shelf,
        reader: AnswerReader,
        judge: Judge | None,
        ledger: Ledger,
        check_prices: PriceBook,
        survive: Callable[[str], AbstractContextManager[None]],
        store: Callable[[Call, Reply[Any], EncodedAnswer], None],
        clock: Callable[[], float],
    ) -> None:
        self._shelf = shelf
        self._reader = reader
        self._judge = judge
        self._ledger = ledger
        self._survive = survive
        self._store = store
        self._worker = Worker(lambda: survive("learning"))
        self._families = Families(settings, link=shelf.link, survive=survive)
        self._grouping = Grouping(shelf, survive)
        self._docket = Docket(self._worker, ledger=ledger, judge=self._judge_one)
        self._checks = Checks(ledger=ledger, prices=check_prices, survive=survive, clock=clock)
        self._left_out: deque[tuple[bytes, bytes, npt.NDArray[np.float32]]] = deque(
            maxlen=_LEFT_OUT
        )
        self._is_catching_up = False
        with survive("learning"):
            self._recall()

    def rule_of(self, family: bytes) -> Rule:
        """Give the rule in force. Takes no lock; the first time after a start some milliseconds."""
        return self._families.rule_of(family)

    def came(self, family: bytes) -> None:
        """Count a request that was answered without a candidate, such as an exact hit."""
        known = self._families.get(family)
        if known is not None:
            known.requests += 1

    def served(self, call: Call, again: Again | AgainAsync | None) -> None:
        """Take in a hit, and have it checked if it is its turn."""
        found, family = call.finding.best, self._families.get(call.scope.family)
        if found is None or family is None:
            return
        family.requests += 1
        family.hits += 1
        family.leave(found[1].evidence, served=True)
        if not family.hits % _LOOK_EVERY:
            self._hand_in(lambda: self._families.update(call.scope.family, family))
        share = family.calibrator.rule.check_share
        if again is not None and share and is_checked(family.hits, share, family.seed):
            self._check(family, call, again)

    def missed(self, call: Call, answer: EncodedAnswer) -> None:
        """Take in a miss and the fresh answer to it."""
        family, vector = self._families.get(call.scope.family), call.finding.vector
        if family is None or vector is None:
            return
        family.requests += 1
        if call.finding.best is not None:
            family.leave(call.finding.best[1].evidence, served=False)
        loop = running_loop()
        if not self._hand_in(lambda: self._learn_from_miss(family, call, answer, loop)):
            self._left_out.append((call.finding.key, call.scope.key, vector))

    def stored(self, call: Call, answer: EncodedAnswer) -> None:
        """Take in an answer that came from elsewhere; at once, in the caller's time."""
        entry = self._shelf.entry(call.finding.key)
        if entry is not None and call.finding.vector is not None:
            near = self._shelf.near(call.finding.vector, call.scope.key)
            self._grouping.place(entry, self._meaning(text_of(answer)), near)

    def reported(self, family: bytes, judgement: Judgement) -> None:
        """Take in that a user called a hit wrong."""
        known = self._families.get(family)
        if known is not None and judgement.evidence:
            calibrator = known.calibrator
            self._hand_in(lambda: calibrator.report(judgement.evidence))
            self._hand_in(lambda: self._families.update(family, known))

    def settle(self, timeout_s: float) -> bool:
        """See `PrismCache.settle`."""
        until_s = time.monotonic() + timeout_s
        if not self._checks.settle(until_s):
            return False
        while self._worker.settle(until_s - time.monotonic()):
            # What was done meanwhile may have brought lessons before the judge.
            if not self._docket.is_judging:
                return True
        return False

    def gauges(self) -> dict[str, float | int | None]:
        """Give what metrics show: estimates are means over families, weighed by requests."""
        return self._families.gauges()

    def close(self) -> None:
        """Stop, and save what was learned."""
        self._worker.close()
        self._checks.cancel()
        with self._survive("learning"):
            self._grouping.write()
        with self._survive("learning"):
            self._families.save()

    def _hand_in(self, piece: Callable[[], None]) -> bool:
        taken = self._worker.do(piece)
        if not taken:
            self._ledger.count("labels_dropped")
        return taken

    def _learn_from_miss(
        self,
        family: Family,
        call: Call,
        answer: EncodedAnswer,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        text = text_of(answer)
        entry = self._shelf.entry(call.finding.key)
        if entry is not None and entry.answer.payload != answer.payload:
            entry = None
        fresh = entry.sketch if entry is not None else sketch(text, call.query)
        lesson = Lesson(
            call.scope.family, family, call, entry, text, fresh, self._meaning(text), loop
        )
        waits = False
        found = call.finding.best
        if found is None:
            verdict = None
        elif self._judge is None or fresh.digest == found[0].sketch.digest:
            verdict = self._grouping.is_right(fresh, lesson.meaning, found[0])
        else:
            verdict, waits = None, True
        if entry is not None:
            near = call.finding.near
            if waits and found is not None:
                # Whether it belongs to the candidate's group is for the judge to say.
                near = [each for each in near if each[0].group != found[0].group]
            self._grouping.place(
                entry, lesson.meaning, near, known=found and found[0], verdict=verdict
            )
        if waits:
            self._docket.put(lesson)
        elif found is not None:
            self._label(lesson, verdict=verdict)
        self._families.update(lesson.name, family)
        if self._left_out and not self._is_catching_up:
            self._is_catching_up = self._worker.do(self._catch_up, even_if_full=True)
        if self._worker.is_idle:
            self._grouping.write()

    def _judge_one(self, lesson: Lesson) -> None:
        """Have the user's judge judge a lesson, and learn from what it says."""
        found = lesson.call.finding.best
        if found is None or self._judge is None:
            return
        candidate, verdict = found[0], None
        with self._survive("judge"):
            verdict = ask_judge(
                self._judge,
                lesson.call.query,
                lesson.text,
                candidate.question,
                text_of(candidate.answer),
                lesson.loop,
            )
        entry = lesson.entry
        if verdict and entry is not None and self._shelf.entry(entry.key) is entry:
            self._grouping.join([entry, candidate])
        self._label(lesson, verdict=verdict)
        self._families.update(lesson.name, lesson.family)

    def _catch_up(self) -> None:
        """Place one entry that came too fast, then let other work have its turn before the next."""
        try:
            key, scope, vector = self._left_out.pop()
            entry = self._shelf.entry(key)
            if entry is not None and entry.meaning is None:
                meaning = self._meaning(text_of(entry.answer))
                near = self._shelf.near(vector, scope)
                self._grouping.place(entry, meaning, near)
        finally:
            self._is_catching_up = bool(self._left_out) and self._worker.do(
                self._catch_up, even_if_full=True
            )

    def _label(self, lesson: Lesson, *, verdict: bool | None) -> None:
        found, served = lesson.call.finding.best, lesson.reply is not None
        if verdict is None or found is None:
            self._ledger.count("unlabelled")
        else:
            lesson.family.take_in()
            lesson.family.calibrator.learn(found[1].evidence, wrong=not verdict, served=served)
            self._ledger.count("labels")
            if served and not verdict:
                self._ledger.count("checks_wrong")
        if lesson.reply is not None and verdict is False:
            # Whoever asks this again gets the answer to it.
            self._store(lesson.call, *lesson.reply)

    def _recall(self) -> None:
        """Take in what was saved."""
        for name, value in self._shelf.link.notes().items():
            if name.startswith(STATE_NOTE):
                self._families.recall(name.removeprefix(STATE_NOTE), value)
            elif name.startswith(ENTRY_NOTE):
                entry = self._shelf.entry(name.removeprefix(ENTRY_NOTE))
                if entry is not None:
                    with contextlib.suppress(ValueError):
                        note = unpacked_note(value, is_width=self._reader.knows)
                        self._shelf.understand(entry, *note)

    def _meaning(self, text: str) -> npt.NDArray[np.float32] | None:
        """Read an answer; `None` if nothing can, or that fails."""
        with self._survive("learning"):
            return self._reader(text)
        return None

    def _check(self, family: Family, call: Call, again: Again | AgainAsync) -> None:
        """Have a hit checked, and learn from the answer."""
        loop = running_loop()

        def compare(reply: Reply[Any], answer: EncodedAnswer) -> None:
            self._hand_in(lambda: self._learn_from_check(family, call, reply, answer, loop))

        self._checks.begin(call, again, compare)

    def _learn_from_check(
        self,
        family: Family,
        call: Call,
        reply: Reply[Any],
        answer: EncodedAnswer,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        found = call.finding.best
        if found is None:
            return
        text = text_of(answer)
        fresh = sketch(text, call.query)
        lesson = Lesson(
            call.scope.family, family, call, None, text, fresh, self._meaning(text), loop,
            (reply, answer),
        )  # fmt: skip
        if self._judge is not None and fresh.digest != found[0].sketch.digest:
            self._docket.put(lesson)
            return
        self._label(lesson, verdict=self._grouping.is_right(fresh, lesson.meaning, found[0]))
        self._families.update(lesson.name, family)
