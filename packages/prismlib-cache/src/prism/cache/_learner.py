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
import json
import logging
import time
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from prism.cache._answers import AnswerSketch, compare, readable, sketch
from prism.cache._calibration.calibrator import Calibrator, is_checked
from prism.cache._calibration.rule import Rule
from prism.cache._call import Call
from prism.cache._codec import EncodedAnswer
from prism.cache._judging import Judge, ask_judge
from prism.cache._metrics import Ledger
from prism.cache._pricing import PriceBook, Usage, estimate_tokens
from prism.cache._reply import Reply
from prism.cache._settings import CacheSettings
from prism.cache._shelf import GROUP_BYTES, Entry, Shelf, text_of
from prism.cache._threads import start_in_own_thread
from prism.cache._verdict import Judgement
from prism.cache._worker import Worker
from prism.cache.store._notes import ENTRY_NOTE
from prismresonance.embed import Embedder, SelectiveEmbedder

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
_SAVE_EVERY = 100
_SAVE_AFTER_S = 30.0


@dataclass(slots=True)
class _Family:
    """One family of scopes.

    `requests` and `hits` are counted by questions, without a lock: a lost one only makes the
    estimate higher. `unseen` are those that came while the learner was too busy to look at them.
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


class Learner:
    """See the module. Safe for threads and tasks.

    Args:
        settings: What the user chose.
        shelf: Where entries are.
        embedder: What makes vectors.
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
        embedder: Embedder,
        judge: Judge | None,
        ledger: Ledger,
        check_prices: PriceBook,
        survive: Callable[[str], AbstractContextManager[None]],
        store: Callable[[Call, Reply[Any], EncodedAnswer], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._shelf = shelf
        self._embedder = embedder
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
        entry, judgement = found
        share = family.calibrator.rule.check_share
        if not self._hand_in(lambda: self._see(family, judgement, served=True)):
            family.unseen += 1
        if again is not None and share and is_checked(family.hits, share, family.seed):
            self._check(family, call, entry, judgement, again)

    def missed(self, call: Call, answer: EncodedAnswer) -> None:
        """Take in a miss and the fresh answer to it."""
        family, loop = self._families.get(call.scope.family), _running_loop()
        if family is None or call.finding.vector is None:
            return
        family.requests += 1
        if not self._hand_in(lambda: self._learn_from_miss(family, call, answer, loop)):
            family.unseen += 1

    def stored(self, call: Call, answer: EncodedAnswer) -> None:
        """Take in an answer that came from elsewhere; at once, in the caller's time."""
        entry = self._shelf.entry(call.finding.key)
        if entry is not None and call.finding.vector is not None:
            call.finding.near = self._shelf.near(call.finding.vector, call.scope.key)
            self._understand(entry, self._meaning(text_of(answer)), call, None, verdict=None)

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
        return self._worker.settle(until_s - time.monotonic())

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

    def _count(self, family: _Family) -> None:
        requests, unseen = family.requests, family.unseen
        family.calibrator.count(requests - family.counted, unseen=unseen - family.unseen_counted)
        family.counted, family.unseen_counted = requests, unseen

    def _see(self, family: _Family, judgement: Judgement, *, served: bool) -> None:
        self._count(family)
        family.calibrator.see(judgement.evidence, served=served)

    def _learn_from_miss(
        self,
        family: _Family,
        call: Call,
        answer: EncodedAnswer,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        text = text_of(answer)
        meaning = self._meaning(text)
        entry = self._shelf.entry(call.finding.key)
        fresh = entry.sketch if entry is not None else sketch(text)
        found = call.finding.best
        verdict = None
        if found is not None:
            verdict = self._is_right(call, text, fresh, meaning, found[0], loop)
            self._see(family, found[1], served=False)
        else:
            self._count(family)
        if entry is not None and entry.answer.payload == answer.payload:
            self._understand(entry, meaning, call, found[0] if found else None, verdict=verdict)
        if found is not None:
            self._label(family, found[1], verdict=verdict, served=False)
        self._update(call.scope.family, family)

    def _understand(
        self,
        entry: Entry,
        meaning: npt.NDArray[np.float32] | None,
        call: Call,
        candidate: Entry | None,
        *,
        verdict: bool | None,
    ) -> None:
        """Let an entry join the groups of its neighbours that say the same."""
        self._shelf.understand(entry, entry.group, meaning)
        seen: set[bytes] = {entry.group}
        same = [entry]
        for other, _ in call.finding.near:
            if other.group in seen or other is entry:
                continue
            seen.add(other.group)
            if other is candidate and verdict is not None:
                joins = verdict
            else:
                joins = self._shelf.agrees(
                    other, lambda member: _same(entry.sketch, meaning, member)
                )
            if joins:
                same.append(other)
        moved = self._shelf.join(same) if len(same) > 1 else []
        notes = {
            ENTRY_NOTE + each.key: each.group
            + (b"" if each.meaning is None else each.meaning.astype("<f2").tobytes())
            for each in {each.key: each for each in [entry, *moved]}.values()
        }
        with self._survive("store"):
            self._shelf.link.note(notes)

    def _is_right(
        self,
        call: Call,
        text: str,
        fresh: AnswerSketch,
        meaning: npt.NDArray[np.float32] | None,
        candidate: Entry,
        loop: asyncio.AbstractEventLoop | None,
    ) -> bool | None:
        """Tell whether the candidate's answer would have been right; `None` if that is unknown."""
        if fresh.digest == candidate.sketch.digest:
            return True
        if self._judge is not None:
            stored = text_of(candidate.answer)
            with self._survive("judge"):
                return ask_judge(self._judge, call.query, text, candidate.question, stored, loop)
            return None
        verdict = _compared(fresh, meaning, candidate)
        if verdict is not False:
            return verdict
        return self._shelf.agrees(candidate, lambda member: _same(fresh, meaning, member))

    def _label(
        self, family: _Family, judgement: Judgement, *, verdict: bool | None, served: bool
    ) -> None:
        if verdict is None:
            self._ledger.count("unlabelled")
            return
        family.calibrator.learn(judgement.evidence, wrong=not verdict, served=served)
        self._ledger.count("labels")
        if served and not verdict:
            self._ledger.count("checks_wrong")

    def _update(self, name: bytes, family: _Family) -> None:
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
                packed = value[GROUP_BYTES:]
                if entry is not None and len(packed) in (0, 2 * self._embedder.dim):
                    meaning = np.frombuffer(packed, dtype="<f2").astype(np.float32)
                    self._shelf.understand(
                        entry,
                        value[:GROUP_BYTES],
                        meaning if meaning.any() and np.isfinite(meaning).all() else None,
                    )

    def _meaning(self, text: str) -> npt.NDArray[np.float32] | None:
        """Embed an answer; `None` if the embedder cannot read it or fails."""
        read = readable(text)
        if not read or (
            isinstance(self._embedder, SelectiveEmbedder) and not self._embedder.reads(read)
        ):
            return None
        with self._survive("learning"):
            row = np.asarray(self._embedder.embed([read]), dtype=np.float32)
            if row.shape == (1, self._embedder.dim) and np.isfinite(row).all():
                meaning: npt.NDArray[np.float32] = row[0]
                return meaning
        return None

    def _check(
        self,
        family: _Family,
        call: Call,
        entry: Entry,
        judgement: Judgement,
        again: Again | AgainAsync,
    ) -> None:
        """Ask the model again, beside the caller, and compare."""
        if len(self._checks) >= _CHECKS_AT_ONCE:
            return
        loop = _running_loop()
        self._ledger.count("checks")

        def compare(answered: Answered) -> None:
            reply, answer = answered
            self._note_cost(call, reply, answer)
            if answer is not None:
                self._hand_in(
                    lambda: self._learn_from_check(
                        family, call, entry, judgement, reply, answer, loop
                    )
                )

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
        entry: Entry,
        judgement: Judgement,
        reply: Reply[Any],
        answer: EncodedAnswer,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        text = text_of(answer)
        verdict = self._is_right(call, text, sketch(text), self._meaning(text), entry, loop)
        self._label(family, judgement, verdict=verdict, served=True)
        if verdict is False:
            # Whoever asks this again gets the answer to it.
            self._store(call, reply, answer)
        self._update(call.scope.family, family)

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


def _same(fresh: AnswerSketch, meaning: npt.NDArray[np.float32] | None, other: Entry) -> bool:
    return _compared(fresh, meaning, other) is True


def _compared(
    fresh: AnswerSketch, meaning: npt.NDArray[np.float32] | None, other: Entry
) -> bool | None:
    theirs = other.meaning
    cosine = None
    if meaning is not None and theirs is not None and meaning.shape == theirs.shape:
        cosine = float(meaning @ theirs)
    return compare(fresh, other.sketch, cosine)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
