"""The steps of asking, as far as threads and coroutines take them alike, and everything but asking.

    catch up ─▶ exact ─▶ rules ─▶ flight ─▶ exact again ─▶ embed, similar ─▶ call ─▶ store ─▶ share
                  │hit     │refused  │shared      │hit              │hit

`_ask_sync` and `_ask_async` walk these steps and differ only in how they wait. What goes wrong on
the way, other than in `call_fn`, is counted and logged, and the walk goes on as if nothing had been
found.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from prism.cache._call import NOT_SERVED, Call, Outcome, Replay, in_form
from prism.cache._codec import EncodedAnswer, decode, encode
from prism.cache._entry import Entry
from prism.cache._explanation import Lookup
from prism.cache._finder import Finder, Finding
from prism.cache._flights.async_streams import AsyncSharedStream
from prism.cache._flights.single_flight import Lead, SingleFlight
from prism.cache._flights.stream_sources import areplay, replay
from prism.cache._flights.streams import SharedStream
from prism.cache._forks import hold_over_fork
from prism.cache._judging import Judge
from prism.cache._keys import vouched_key
from prism.cache._learner import Learner
from prism.cache._metrics import NOTHING_LEARNED, CacheMetrics, Ledger
from prism.cache._options import AskOptions
from prism.cache._pricing import PriceBook, Usage, estimate_tokens
from prism.cache._reading import AnswerReader
from prism.cache._reply import Reply
from prism.cache._scope import Scope
from prism.cache._settings import CacheSettings
from prism.cache._shelf import Kept, Shelf
from prism.cache._surviving import Survival
from prism.cache.errors import CacheClosedError, CacheConfigurationError, CallError, StoreError
from prism.cache.store import Record, Store
from prismresonance.embed import Embedder

__all__ = ["Engine"]

_log = logging.getLogger("prism.cache")


class Engine:
    """One cache with all its scopes. Safe for threads and tasks.

    Attributes:
        settings: What its user chose.
        flights: The questions that are being asked of the model.
        is_durable: Whether storing may take the time of a disk.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        embedder: Embedder,
        store: Store | None,
        owned_store: Store | None,
        judge: Judge | None = None,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.flights = SingleFlight[tuple[bytes, int], Outcome]()
        self.is_durable = store is not None
        self._clock = clock
        self._owned_store = owned_store
        self._ledger = Ledger()
        self._survive = Survival(self._ledger)
        self._prices = PriceBook()
        self._embedder_id = embedder.model_id
        self._shelf = Shelf(
            settings, store=store, embedder=embedder.model_id, ledger=self._ledger, clock=clock
        )
        self._check_prices = PriceBook()
        reader = AnswerReader(embedder)
        self._learner: Learner | None = None
        if settings.similarity_threshold is None and settings.learn:
            self._learner = Learner(
                settings,
                shelf=self._shelf,
                reader=reader,
                judge=judge,
                ledger=self._ledger,
                check_prices=self._check_prices,
                survive=self._survive,
                store=self._keep,
                clock=clock,
            )
        self._finder = Finder(
            settings,
            shelf=self._shelf,
            embedder=embedder,
            reader=reader,
            rule_of=None if self._learner is None else self._learner.rule_of,
            rule_failed=self._rule_failed,
        )
        self._is_closed = False
        hold_over_fork(self, *self._ledger.locks, *self._prices.locks, *self._check_prices.locks)

    def begin(
        self, scope: Scope, query: str, call_fn: Callable[[], object], options: AskOptions
    ) -> Call:
        """Check and count a question."""
        asked_s = time.perf_counter()
        self._check(query)
        if not callable(call_fn):
            raise CallError(f"call_fn must be callable, not a {type(call_fn).__name__}")
        self._ledger.count("requests")
        finding = Finding(b"") if options.bypass else self._finder.unsought(scope, query)
        return Call(scope, query, options, finding, asked_s, self._shelf.removal_count)

    @property
    def is_behind(self) -> bool:
        """Whether `catch_up` has something to do. Microseconds; never raises."""
        with self._survive("store"):
            return self._shelf.is_behind
        return False

    def catch_up(self) -> None:
        """Take in what time and other processes did; never raises."""
        with self._survive("store"):
            if self._shelf.is_behind:
                self._shelf.catch_up()

    def find_exact(self, call: Call) -> None:
        """Look for the same text. Microseconds."""
        self._finder.find_exact(call.finding)

    def admits(self, call: Call) -> bool:
        """Ask the admission rules; never raises.

        Where they refuse, the model is called for this caller alone and nothing is stored, unless
        the finding has what a caller put under this very text.
        """
        if call.options.admit:
            return True
        is_admitted = True
        with self._survive("admission"):
            is_admitted = self._finder.admit(call.scope, call.query, call.finding)
            if (rule := call.finding.held) is not None and call.finding.entry is None:
                self._ledger.hold(rule.name)
        return is_admitted

    def find_similar(self, call: Call) -> None:
        """Look for another wording if the same text was not found. Milliseconds; never raises."""
        if call.finding.entry is None:
            with self._survive("lookup"):
                self._finder.find_similar(call.scope, call.query, call.finding)

    def serve(self, call: Call, replayed: Replay) -> object:
        """Give the found answer in the caller's form, or `NOT_SERVED`."""
        entry = call.finding.entry
        if entry is None:
            return NOT_SERVED
        with self._survive("answer"):
            answer = in_form(entry.answer, replayed, stream=call.options.stream)
            entry.hits += 1
            self._note_savings(entry.model, entry.usage, call.query, entry.answer)
            kind = "exact_hits" if call.finding.is_exact else "similar_hits"
            self._ledger.hit(kind, time.perf_counter() - call.asked_s)
            self._learn_from_hit(call)
            return answer
        call.finding.entry = None
        return NOT_SERVED

    def serve_shared(
        self, call: Call, outcome: Outcome, loop: asyncio.AbstractEventLoop | None
    ) -> object:
        """Give what the leader of our flight got in our form, or `NOT_SERVED`.

        A live stream is given as a reader of it, to threads among themselves and to the tasks of
        one loop among themselves.
        """
        served: object = NOT_SERVED
        replayed: Replay = replay if loop is None else areplay
        if outcome.finding is not None:
            call.finding.entry, call.finding.is_exact = (
                outcome.finding.entry,
                outcome.finding.is_exact,
            )
            return self.serve(call, replayed)
        with self._survive("answer"):
            stream = outcome.stream
            if outcome.answer is not None:
                served = in_form(outcome.answer, replayed, stream=call.options.stream)
            elif (isinstance(stream, SharedStream) and loop is None) or (
                isinstance(stream, AsyncSharedStream) and stream.loop is loop
            ):
                served = stream.attach() or NOT_SERVED
                if call.options.stream is False:
                    # It counts when it has been read to its end.
                    return served
            if served is not NOT_SERVED:
                self.count_shared(call, outcome)
        return served

    def count_shared(self, call: Call, outcome: Outcome) -> None:
        """Count an answer that another caller's call gave."""
        self._ledger.count("shared_calls")
        self._note_savings(outcome.model, outcome.usage, call.query, outcome.answer)

    def share_finding(self, call: Call, lead: Lead[Outcome] | None) -> None:
        """Let those who wait have the stored answer that was found."""
        if lead is not None:
            lead.succeed(Outcome(finding=call.finding))

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Count a call to the model, and whether it failed."""
        self._ledger.count("calls")
        try:
            yield
        except BaseException:
            self._ledger.count("failed_calls")
            raise

    def store(self, call: Call, reply: Reply[Any], answer: EncodedAnswer | None) -> None:
        """Store what the model said, durably if there is a store; never raises."""
        with self._survive("store"):
            if answer is None:
                self._ledger.count("unstorable")
                return
            self._keep(call, reply, answer)
            if self._learner is not None:
                with self._survive("learning"):
                    self._learner.missed(call, answer)

    def share(
        self,
        call: Call,
        reply: Reply[Any],
        answer: EncodedAnswer | None,
        lead: Lead[Outcome] | None,
    ) -> None:
        """Let those who wait have the model's answer, and count the miss."""
        if lead is not None and answer is None:
            lead.release()
        elif lead is not None:
            lead.succeed(Outcome(reply.model or call.scope.model, reply.usage, answer))
        self._count_miss(call)

    def share_stream(
        self,
        call: Call,
        reply: Reply[Any],
        stream: SharedStream[object] | AsyncSharedStream[object],
        lead: Lead[Outcome] | None,
    ) -> None:
        """Let those who wait and those who come read a live stream, and count the miss."""
        if lead is not None:
            lead.share_live(Outcome(reply.model or call.scope.model, reply.usage, stream=stream))
        self._count_miss(call)

    def formed(self, call: Call, answer: object, replayed: Replay) -> object:
        """Give the model's own answer in the caller's form."""
        is_chunks = isinstance(answer, (Iterator, AsyncIterator))
        return replayed((answer,)) if call.options.stream and not is_chunks else answer

    def alone(self, call: Call, answer: object, replayed: Replay) -> object:
        """Give the model's own answer, in which the cache had no part, and count it."""
        self._ledger.count("bypassed" if call.options.bypass else "refused")
        return self.formed(call, answer, replayed)

    def abandon(self, lead: Lead[Outcome] | None, error: BaseException | None) -> None:
        """End a stream that will not be complete."""
        if error is not None:
            self._ledger.count("failed_calls")
        if lead is not None:
            lead.close()

    def stream_failed(self, error: Exception) -> None:
        """Count what went wrong at the end of a stream, in the cache or in closing the source."""
        self._ledger.error("stream")
        _log.warning("the cache failed at the end of a stream", exc_info=error)

    def lookup(self, scope: Scope, query: str, *, admit: bool = False) -> Lookup:
        """See `ScopedCache.lookup`."""
        self._check(query)
        self.catch_up()
        finding, explanation = self._finder.explain(scope, query, admit=admit)
        entry = finding.entry
        if entry is not None:
            with self._survive("answer"):
                return Lookup(
                    hit=True,
                    answer=decode(entry.answer),
                    age_s=self._clock() - entry.created_at,
                    explanation=explanation,
                )
        return Lookup(hit=False, explanation=explanation)

    def put(
        self, scope: Scope, query: str, answer: object, usage: Usage | None, options: AskOptions
    ) -> None:
        """See `ScopedCache.put`."""
        self._check(query)
        encoded = encode(answer)
        if encoded is None:
            raise CacheConfigurationError(
                f"a {type(answer).__name__} cannot be stored: only text, bytes and JSON values can"
            )
        finding = self._finder.unsought(scope, query)
        removals = self._shelf.removal_count
        if not options.admit and not self._finder.admit(scope, query, finding):
            # The caller's word is about this very text: there it is found in spite of the rule.
            finding.key = vouched_key(scope, query)
            finding.held = None
        if finding.held is None:
            finding.vector = self._finder.embed(query)
        call = Call(scope, query, options, finding, time.perf_counter(), removals)
        kept = self._shelf.keep(self._record(call, Reply(answer, usage), encoded), since=removals)
        if kept is Kept.TOO_LARGE:
            raise CacheConfigurationError(
                f"an answer of {len(encoded.payload):,} bytes is larger than all the room there "
                f"is: max_bytes is {self.settings.max_bytes:,}"
            )
        if self._learner is not None:
            with self._survive("learning"):
                self._learner.stored(call, encoded)
        if kept is Kept.NOT_DURABLE:
            raise StoreError("the answer is in memory but could not be written to the store")

    def remove(self, matches: Callable[[Entry], bool]) -> int:
        """Remove entries from memory and store; see `PrismCache.invalidate`."""
        self._check("")
        return self._shelf.remove(matches)

    def remove_text(self, scope: Scope, query: str) -> bool:
        """Remove the answer to this very text."""
        self._check(query)
        keys = (self._finder.unsought(scope, query).key, vouched_key(scope, query))
        return self._shelf.remove(lambda entry: entry.key in keys) > 0

    def remove_wrong(self, scope: Scope, query: str) -> bool:
        """Remove what this question would be answered with, in whatever words it is stored."""
        self._check(query)
        self._ledger.count("feedback_wrong")
        self.catch_up()
        finding, _ = self._finder.explain(scope, query)
        key = finding.key if finding.entry is None else finding.entry.key
        if self._learner is not None and finding.entry is not None and finding.best is not None:
            self._learner.reported(scope.family, finding.best[1])
        return self._shelf.remove(lambda entry: entry.key == key) > 0

    def metrics(self) -> CacheMetrics:
        """See `PrismCache.metrics`."""
        self.catch_up()
        savings, checks = self._prices.savings(), self._check_prices.savings()
        learned = NOTHING_LEARNED if self._learner is None else self._learner.gauges()
        return self._ledger.snapshot(
            **learned,
            check_tokens=checks.tokens,
            check_cost_usd=checks.usd,
            entries=len(self._shelf),
            size_bytes=self._shelf.size_bytes,
            tokens_saved=savings.tokens,
            tokens_saved_estimated=savings.tokens_estimated,
            cost_saved_usd=savings.usd,
            cost_saved_estimated_usd=savings.usd_estimated,
            unpriced_hits=savings.unpriced_hits,
        )

    def close(self) -> None:
        """See `PrismCache.close`."""
        self._is_closed = True
        if self._learner is not None:
            self._learner.close()
        self._shelf.close()
        if self._owned_store is not None:
            self._owned_store.close()

    def settle(self, timeout_s: float) -> bool:
        """See `PrismCache.settle`."""
        return self._learner is None or self._learner.settle(timeout_s)

    def _keep(self, call: Call, reply: Reply[Any], answer: EncodedAnswer) -> None:
        record = self._record(call, reply, answer)
        if self._shelf.keep(record, since=call.removals) is Kept.TOO_LARGE:
            self._ledger.count("unstorable")

    def _learn_from_hit(self, call: Call) -> None:
        """Tell the learner of a hit. What another caller's flight found was told by that one."""
        if self._learner is None:
            return
        with self._survive("learning"):
            if call.finding.is_exact:
                self._learner.came(call.scope.family)
            else:
                self._learner.served(call, call.again)

    def _rule_failed(self, error: Exception) -> None:
        with self._survive("admission"):
            raise error

    def _check(self, query: str) -> None:
        if self._is_closed:
            raise CacheClosedError("this cache was closed")
        if not isinstance(query, str):
            raise CallError(f"query must be a string, not a {type(query).__name__}")

    def _count_miss(self, call: Call) -> None:
        if (guard := call.finding.blocking_guard) is not None:
            self._ledger.veto(guard)
        self._ledger.miss(time.perf_counter() - call.asked_s - call.call_s)

    def _record(self, call: Call, reply: Reply[Any], answer: EncodedAnswer) -> Record:
        now = self._clock()
        ttl_s = call.options.ttl_s if call.options.ttl_s is not None else self.settings.ttl_s
        vector, usage = call.finding.vector, reply.usage
        return Record(
            key=call.finding.key,
            scope=call.scope.key,
            question=call.query,
            embedder="" if vector is None else self._embedder_id,
            vector=b"" if vector is None else vector.astype("<f4").tobytes(),
            answer=answer.payload,
            encoding=answer.encoding,
            model=reply.model or call.scope.model,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            call_s=call.call_s,
            created_at=now,
            expires_at=None if ttl_s is None else now + ttl_s,
            tags=call.options.tags,
        )

    def _note_savings(
        self, model: str, usage: Usage | None, query: str, answer: EncodedAnswer | None
    ) -> None:
        estimated = usage is None
        if usage is None:
            written = len(answer.payload) if answer is not None else 0
            usage = Usage(input_tokens=estimate_tokens(query), output_tokens=-(-written // 4))
        self._prices.note(model, usage, is_estimated=estimated, now=self._clock())
