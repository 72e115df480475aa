"""What the cache learns from its traffic, beside the questions: groups, labels, rules.

    miss ──▶ answer stored ─▶ embed it ─▶ join the groups that say the same ─▶ label ─▶ calibrator
    hit ───▶ now and then the model is asked again ──────────────────────────▶ label ─▶ calibrator
    feedback ────────────────────────────────────────────────────────────────▶ report ▶ calibrator

A question hands in what it knows and goes on; one worker does the rest. The rule that comes of it
is read without a lock. Nothing here can fail a question: failures are counted as `learning` or
`judge` and logged, and what could not be learned is not learned.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from prism.cache._answers import AnswerSketch, sketch
from prism.cache._calibration.calibrator import Calibrator, is_checked
from prism.cache._calibration.rule import Rule
from prism.cache._call import Call
from prism.cache._codec import EncodedAnswer
from prism.cache._grouping import Grouping, unpacked_note
from prism.cache._judging import Judge, ask_judge
from prism.cache._metrics import Ledger
from prism.cache._pricing import PriceBook, Usage, estimate_tokens
from prism.cache._reading import AnswerReader
from prism.cache._reply import Reply
from prism.cache._settings import CacheSettings
from prism.cache._shelf import Entry, Shelf, text_of
from prism.cache._threads import start_in_own_thread
from prism.cache._verdict import Judgement
from prism.cache._worker import Worker
from prism.cache.store._notes import ENTRY_NOTE

__all__ = ["Again", "AgainAsync", "Learner"]

Answered: TypeAlias = "tuple[Reply[Any], EncodedAnswer | None]"
Again: TypeAlias = Callable[[], Answered]
"""Asks the model once more what was asked, in a thread."""
AgainAsync: TypeAlias = Callable[[], Coroutine[Any, Any, Answered]]
"""The same in a task of the caller's loop."""

_log = logging.getLogger("prism.cache")
_STATE_NOTE = b"calibrator:"
# Families of scopes that are learned about at a time, half a megabyte each at most. Those beyond it
# are decided by experience.
_FAMILIES = 128
# Checks that may be with the model at a time: a slow model must not pile them up.
_CHECKS_AT_ONCE = 2
# Candidates whose evidence may wait for the learner, 400 bytes each: more than the calibrator's own
# window of traffic would be forgotten at once.
_SEEN = 1536
# Hits alone move no bar; they are looked at so often, for the share of checks.
_LOOK_EVERY = 512
# Lessons that may wait for a judge, who may take a second for each. What comes when all places are
# taken gets the place of one drawn at random: what is judged is recent, however far the judge is
# behind, and which of the recent it is depends on nothing but the draw.
_WAIT_FOR_JUDGE = 256
# Entries that came too fast to be placed in groups, and are placed when there is time.
_LEFT_OUT = 1024
_SAVE_EVERY = 100
_SAVE_AFTER_S = 30.0


@dataclass(slots=True)
class _Family:
    """One family of scopes.

    `requests`, `hits` and `unseen` are counted by questions, without a lock: a lost one only makes
    the estimate higher. Questions leave the evidence of their candidates in `seen`; when it
    overflows, the oldest go and `unseen` tells how many.
    """

    calibrator: Calibrator
    seed: int
    requests: int = 0
    counted: int = 0
    unseen: int = 0
    unseen_counted: int = 0
    hits: int = 0
    saved_labels: int = 0
    saved_at_s: float = field(default_factory=time.monotonic)
    seen: deque[tuple[tuple[float, ...], bool]] = field(default_factory=lambda: deque(maxlen=_SEEN))

    def leave(self, evidence: tuple[float, ...], *, served: bool) -> None:
        """Leave a candidate's evidence for the learner. Takes no lock, well under a microsecond."""
        if len(self.seen) == _SEEN:
            self.unseen += 1
        self.seen.append((evidence, served))

    def take_in(self) -> None:
        """Tell the calibrator what questions left."""
        requests, unseen = self.requests, self.unseen
        self.calibrator.count(requests - self.counted, unseen=unseen - self.unseen_counted)
        self.counted, self.unseen_counted = requests, unseen
        for _ in range(len(self.seen)):
            evidence, served = self.seen.popleft()
            self.calibrator.see(evidence, served=served)


@dataclass(frozen=True, slots=True)
class _Lesson:
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
    family: _Family
    call: Call
    entry: Entry | None
    text: str
    fresh: AnswerSketch
    meaning: npt.NDArray[np.float32] | None
    loop: asyncio.AbstractEventLoop | None
    reply: tuple[Reply[Any], EncodedAnswer] | None = None


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
        self._settings = settings
        self._shelf = shelf
        self._reader = reader
        self._judge = judge
        self._ledger = ledger
        self._check_prices = check_prices
        self._survive = survive
        self._store = store
        self._clock = clock
        self._worker = Worker(lambda: survive("learning"))
        self._families: dict[bytes, _Family] = {}
        self._experience = self._calibrator().rule
        self._saved: dict[bytes, bytes] = {}
        self._grouping = Grouping(shelf, survive)
        # `put` places entries in its caller's time, the worker in its own.
        self._placing = threading.Lock()
        self._waiting: deque[_Lesson] = deque()
        self._left_out: deque[tuple[bytes, bytes, npt.NDArray[np.float32]]] = deque(
            maxlen=_LEFT_OUT
        )
        self._is_judging = self._is_catching_up = False
        self._draw = random.Random(0)  # noqa: S311  for nothing that must be hard to guess
        self._checks: set[Future[None] | asyncio.Task[None]] = set()
        with survive("learning"):
            self._recall()

    def rule_of(self, family: bytes) -> Rule:
        """Give the rule in force. Takes no lock; the first time after a start some milliseconds."""
        known = self._families.get(family) or self._known(family)
        return self._experience if known is None else known.calibrator.rule

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
            self._hand_in(lambda: self._update(call.scope.family, family))
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
        loop = _running_loop()
        if not self._hand_in(lambda: self._learn_from_miss(family, call, answer, loop)):
            self._left_out.append((call.finding.key, call.scope.key, vector))

    def stored(self, call: Call, answer: EncodedAnswer) -> None:
        """Take in an answer that came from elsewhere; at once, in the caller's time."""
        entry = self._shelf.entry(call.finding.key)
        if entry is not None and call.finding.vector is not None:
            near = self._shelf.near(call.finding.vector, call.scope.key)
            with self._placing:
                self._grouping.place(entry, self._meaning(text_of(answer)), near)

    def reported(self, family: bytes, judgement: Judgement) -> None:
        """Take in that a user called a hit wrong."""
        known = self._families.get(family)
        if known is not None and judgement.evidence:
            calibrator = known.calibrator
            self._hand_in(lambda: calibrator.report(judgement.evidence))
            self._hand_in(lambda: self._update(family, known))

    def settle(self, timeout_s: float) -> bool:
        """See `PrismCache.settle`."""
        until_s = time.monotonic() + timeout_s
        for check in list(self._checks):
            if isinstance(check, Future):
                try:
                    check.result(max(0.0, until_s - time.monotonic()))
                except TimeoutError:
                    return False
                except Exception:  # noqa: BLE001, S112  it was counted where it happened
                    continue
        while self._worker.settle(until_s - time.monotonic()):
            # What was done meanwhile may have brought lessons before the judge.
            if not self._is_judging:
                return True
        return False

    def gauges(self) -> dict[str, float | int | None]:
        """Give what metrics show: estimates are means over families, weighed by requests."""
        rules = [(family.requests, family.calibrator) for family in self._families.values()]
        known = [
            (requests, calibrator.rule)
            for requests, calibrator in rules
            if calibrator.rule.error_bound is not None and requests
        ]
        total = sum(requests for requests, _ in known)
        return {
            "error_estimate": sum(n * (r.error_estimate or 0.0) for n, r in known) / total
            if total
            else None,
            "error_bound": sum(n * (r.error_bound or 0.0) for n, r in known) / total
            if total
            else None,
            "drift_alarms": sum(calibrator.alarms for _, calibrator in rules),
        }

    def close(self) -> None:
        """Stop, and save what was learned."""
        self._worker.close()
        for check in list(self._checks):
            if isinstance(check, asyncio.Task) and not check.get_loop().is_closed():
                check.get_loop().call_soon_threadsafe(check.cancel)
        with self._survive("learning"), self._placing:
            self._grouping.write()
        with self._survive("learning"):
            for name, family in list(self._families.items()):
                if family.calibrator.labels != family.saved_labels:
                    self._save(name, family)

    def _calibrator(self) -> Calibrator:
        return Calibrator(max_error=self._settings.max_error, check_share=self._settings.shadow)

    def _known(self, name: bytes) -> _Family | None:
        """Begin to learn about a family, or go on with what was saved."""
        if len(self._families) >= _FAMILIES:
            return None
        calibrator = None
        saved = self._saved.pop(name, None)
        if saved is not None:
            with self._survive("learning"):
                calibrator = Calibrator.restored(
                    json.loads(zlib.decompress(saved)),
                    max_error=self._settings.max_error,
                    check_share=self._settings.shadow,
                )
        if calibrator is None:
            calibrator = self._calibrator()
        return self._families.setdefault(
            name,
            _Family(
                calibrator,
                int.from_bytes(name[:8]),
                hits=calibrator.hits,
                saved_labels=calibrator.labels,
            ),
        )

    def _hand_in(self, piece: Callable[[], None]) -> bool:
        taken = self._worker.do(piece)
        if not taken:
            self._ledger.count("labels_dropped")
        return taken

    def _learn_from_miss(
        self,
        family: _Family,
        call: Call,
        answer: EncodedAnswer,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        text = text_of(answer)
        entry = self._shelf.entry(call.finding.key)
        if entry is not None and entry.answer.payload != answer.payload:
            entry = None
        fresh = entry.sketch if entry is not None else sketch(text, call.query)
        lesson = _Lesson(
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
            with self._placing:
                self._grouping.place(
                    entry, lesson.meaning, near, known=found and found[0], verdict=verdict
                )
        if waits:
            self._await_judge(lesson)
        elif found is not None:
            self._label(lesson, verdict=verdict)
        self._update(lesson.name, family)
        if self._left_out and not self._is_catching_up:
            self._is_catching_up = self._worker.do(self._catch_up, even_if_full=True)
        if self._worker.is_idle:
            with self._placing:
                self._grouping.write()

    def _await_judge(self, lesson: _Lesson) -> None:
        """Let a lesson wait for the judge, or take a waiting one's place."""
        if len(self._waiting) >= _WAIT_FOR_JUDGE:
            self._ledger.count("labels_dropped")
            self._waiting[self._draw.randrange(_WAIT_FOR_JUDGE)] = lesson
        else:
            self._waiting.append(lesson)
        if not self._is_judging:
            self._is_judging = self._worker.do(self._judge_next, even_if_full=True)

    def _judge_next(self) -> None:
        """Have one lesson judged, then let other work have its turn before the next."""
        try:
            self._judge_one(self._waiting.popleft())
        finally:
            self._is_judging = bool(self._waiting) and self._worker.do(
                self._judge_next, even_if_full=True
            )

    def _judge_one(self, lesson: _Lesson) -> None:
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
            with self._placing:
                self._grouping.join([entry, candidate])
        self._label(lesson, verdict=verdict)
        self._update(lesson.name, lesson.family)

    def _catch_up(self) -> None:
        """Place one entry that came too fast, then let other work have its turn before the next."""
        try:
            key, scope, vector = self._left_out.pop()
            entry = self._shelf.entry(key)
            if entry is not None and entry.meaning is None:
                meaning = self._meaning(text_of(entry.answer))
                near = self._shelf.near(vector, scope)
                with self._placing:
                    self._grouping.place(entry, meaning, near)
        finally:
            self._is_catching_up = bool(self._left_out) and self._worker.do(
                self._catch_up, even_if_full=True
            )

    def _label(self, lesson: _Lesson, *, verdict: bool | None) -> None:
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

    def _update(self, name: bytes, family: _Family) -> None:
        family.take_in()
        calibrator = family.calibrator
        calibrator.update()
        news = calibrator.labels - family.saved_labels
        waited_s = time.monotonic() - family.saved_at_s
        if news >= _SAVE_EVERY and (waited_s >= _SAVE_AFTER_S or news >= 10 * _SAVE_EVERY):
            self._save(name, family)

    def _save(self, name: bytes, family: _Family) -> None:
        family.saved_labels, family.saved_at_s = family.calibrator.labels, time.monotonic()
        state = json.dumps(family.calibrator.state(), separators=(",", ":")).encode()
        self._shelf.link.note({_STATE_NOTE + name: zlib.compress(state, 1)})

    def _recall(self) -> None:
        """Take in what was saved."""
        for name, value in self._shelf.link.notes().items():
            if name.startswith(_STATE_NOTE):
                self._saved[name.removeprefix(_STATE_NOTE)] = value
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

    def _check(self, family: _Family, call: Call, again: Again | AgainAsync) -> None:
        """Ask the model again, beside the caller, and compare."""
        if len(self._checks) >= _CHECKS_AT_ONCE:
            return
        loop = _running_loop()
        self._ledger.count("checks")

        def compare(answered: Answered) -> None:
            reply, answer = answered
            self._note_cost(call, reply, answer)
            if answer is not None:
                self._hand_in(lambda: self._learn_from_check(family, call, reply, answer, loop))

        if loop is None or not asyncio.iscoroutinefunction(again):

            def ask() -> None:
                with self._survive("check"):
                    compare(again())  # type: ignore[arg-type]  # the sync form, by its function

            future = start_in_own_thread(ask)
            self._checks.add(future)
            future.add_done_callback(self._checks.discard)
        else:

            async def aask() -> None:
                with self._survive("check"):
                    compare(await again())

            task = loop.create_task(aask())
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

    def _learn_from_check(
        self,
        family: _Family,
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
        lesson = _Lesson(
            call.scope.family, family, call, None, text, fresh, self._meaning(text), loop,
            (reply, answer),
        )  # fmt: skip
        if self._judge is not None and fresh.digest != found[0].sketch.digest:
            self._await_judge(lesson)
            return
        self._label(lesson, verdict=self._grouping.is_right(fresh, lesson.meaning, found[0]))
        self._update(lesson.name, family)

    def _note_cost(self, call: Call, reply: Reply[Any], answer: EncodedAnswer | None) -> None:
        usage = reply.usage
        if usage is None:
            written = len(answer.payload) if answer is not None else 0
            usage = Usage(input_tokens=estimate_tokens(call.query), output_tokens=-(-written // 4))
        self._check_prices.note(
            reply.model or call.scope.model,
            usage,
            is_estimated=reply.usage is None,
            now=self._clock(),
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
