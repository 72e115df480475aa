"""Tests that hold any implementation of `Store` to the contract.

With pytest, subclass and say how a store is made; every test method then runs on a fresh store::

    import pytest
    from prism.cache.store.conformance import StoreConformance


    class TestRedisStore(StoreConformance):
        remembered_changes = 100

        @pytest.fixture(autouse=True)
        def _database(self, redis_url):
            self.url = redis_url

        def make_store(self):
            return RedisStore(self.url, remembered_changes=100)

        reopen_store = make_store
        is_shared = True

Without pytest, use `setup_method` and `teardown_method` (pytest calls them too) in place of the
fixture, and `TestRedisStore.check()`, which gives a `ConformanceReport`.

What a store does not offer is found out from the class. Its tests do not exist in that class, and
`not_applicable` of class and report names them with the reason.

- *durable*: `reopen_store` is overridden.
- *shared*: `is_shared` is true; then `reopen_store` is also called while the first store is open.
- *bounded log of deletions*: `remembered_changes` is given.

The suite needs nothing but this package. It holds no test of a killed process, since only the
implementation knows how to make one; `tests/integration/test_sqlite_kill.py` here is an example.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

from prism.cache.errors import StoreError
from prism.cache.store._protocol import Changes, Record, Store

__all__ = ["ConformanceReport", "Follower", "StoreConformance", "make_record"]

_A, _B = b"tenant a", b"tenant b"
_SEED = 20_240_917
# What a store must offer for a test to make sense; see `StoreConformance`.
_NEEDS = {
    "test_outlives_its_object": "durable",
    "test_shows_each_others_changes": "shared",
    "test_resets_whoever_missed_a_forgotten_deletion": "bounded",
}


def make_record(number: int, answer: bytes = b'"an answer"', **fields: object) -> Record:
    """Make a plausible record whose key depends on `number` alone."""
    record = Record(
        key=number.to_bytes(32, "big"),
        scope=b"scope of 16 byte",
        question=f"what is {number}?",
        embedder="test-embedder",
        vector=number.to_bytes(4, "little") * 384,
        answer=answer,
        encoding="json",
        model="test-model",
        input_tokens=number,
        created_at=1_700_000_000.25 + number,
    )
    return replace(record, **fields)  # type: ignore[arg-type]  # checked by the dataclass itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceReport:
    """What `StoreConformance.check` found, each by the name of its test.

    Attributes:
        passed: Tests that held.
        failed: Tests that did not, and why.
        not_applicable: Tests of what the store does not offer, and what that is.
    """

    passed: tuple[str, ...]
    failed: Mapping[str, str]
    not_applicable: Mapping[str, str]

    @property
    def is_conformant(self) -> bool:
        """Whether nothing failed."""
        return not self.failed


@dataclass(slots=True)
class Follower:
    """A reader that keeps up with one tenant of a store by `changes` alone, as a cache does.

    Attributes:
        tenant: Whose records.
        position: Up to where it has read.
        records: What it believes the store to hold.
    """

    tenant: bytes
    position: int = 0
    records: dict[bytes, Record] = field(default_factory=dict)

    def follow(self, store: Store) -> Changes:
        """Read and apply what changed; return it."""
        changes = store.changes(self.tenant, self.position)
        _expect(
            changes.is_reset or changes.position >= self.position,
            f"position fell from {self.position} to {changes.position}",
        )
        if changes.is_reset:
            self.records.clear()
        for key in changes.deleted:
            self.records.pop(key, None)
        self.records.update((record.key, record) for record in changes.stored)
        keys = [*changes.deleted, *(record.key for record in changes.stored)]
        _expect(len(keys) == len(set(keys)), "a key is told twice, or both stored and deleted")
        self.position = changes.position
        return changes


class StoreConformance:
    """The contract of `Store` as tests; subclass it and override `make_store`.

    Attributes:
        remembered_changes: After how many changes the stores of `make_store` may forget a
            deletion; `None` if that is not bounded or not settable. Choose it small.
        is_shared: Whether `reopen_store` may be called while an earlier store is open, as another
            process would.
    """

    remembered_changes: int | None = None
    is_shared: bool = False

    def setup_method(self) -> None:
        """Prepare an empty place for the store of one test."""

    def teardown_method(self) -> None:
        """Clear the place away."""

    def make_store(self) -> Store:
        """Make an empty store. Called once in each test."""
        raise NotImplementedError

    def reopen_store(self) -> Store:
        """Make another store on what the one of `make_store` holds."""
        raise NotImplementedError

    not_applicable: ClassVar[Mapping[str, str]] = {}
    """Tests of what the store does not offer, and what that is."""

    def __init_subclass__(cls) -> None:
        """Leave out the tests of what the store does not offer."""
        super().__init_subclass__()
        missing = {}
        if cls.reopen_store is StoreConformance.reopen_store:
            missing["durable"] = "not durable: reopen_store is not overridden"
        if not cls.is_shared:
            missing["shared"] = "not shared: is_shared is false"
        if cls.remembered_changes is None:
            missing["bounded"] = "no bounded log of deletions: remembered_changes is not given"
        found = {name: missing.get(need) for name, need in _NEEDS.items()}
        cls.not_applicable = {name: why for name, why in found.items() if why is not None}
        for name in _NEEDS:
            is_left_out = name in cls.not_applicable
            setattr(cls, name, None if is_left_out else vars(StoreConformance)[name])

    @classmethod
    def check(cls) -> ConformanceReport:
        """Run all tests without a test runner."""
        passed: list[str] = []
        failed: dict[str, str] = {}
        for name in (name for name in dir(cls) if name.startswith("test_")):
            if name in cls.not_applicable:
                continue
            suite = cls()
            suite.setup_method()
            try:
                getattr(suite, name)()
            except Exception as error:  # noqa: BLE001 - whatever a foreign store raises is a finding
                failed[name] = f"{type(error).__name__}: {error}"
            else:
                passed.append(name)
            finally:
                suite.teardown_method()
        return ConformanceReport(
            passed=tuple(passed), failed=failed, not_applicable=cls.not_applicable
        )

    def test_offers_the_methods_of_a_store(self) -> None:
        """A store is an instance of the protocol."""
        with closing(self.make_store()) as store:
            _expect(isinstance(store, Store), "a method of Store is missing")

    def test_is_empty_at_first(self) -> None:
        """A new store has no records, and nothing changes by asking."""
        with closing(self.make_store()) as store:
            first = store.changes(_A, 0)
            _equal(first.stored, ())
            _expect(not store.has_changed(first.position), "changed though nobody wrote")

    def test_gives_back_equal_records(self) -> None:
        """Every field comes back as it was, whatever it holds."""
        odd = "\0 NUL, \U0001f9ca, e\u0301, \u202e, '\"\\;-- \n"
        records = [
            make_record(1),
            make_record(2, question="", embedder="", model="", encoding=""),
            make_record(
                3, question=odd, model=odd, embedder=odd, encoding=odd, tags=(odd, "", odd)
            ),
            make_record(4, vector=b"", answer=b"", scope=b""),
            make_record(5, answer=bytes(range(256)) * 4096),
            make_record(6, input_tokens=None, output_tokens=0, cached_tokens=2**63 - 1),
            make_record(7, call_s=1e-300, created_at=-1.5, expires_at=float("inf")),
            make_record(8, call_s=3, expires_at=0.1),
        ]
        with closing(self.make_store()) as store:
            for record in records:
                store.put(_A, record)
            _equal(store.changes(_A, 0).stored, tuple(records))

    def test_keeps_one_record_per_key(self) -> None:
        """A put takes the place of an earlier one and comes last in order."""
        with closing(self.make_store()) as store:
            store.put(_A, make_record(1, b"old"))
            store.put(_A, make_record(2))
            store.put(_A, make_record(1, b"new"))
            _equal(store.changes(_A, 0).stored, (make_record(2), make_record(1, b"new")))

    def test_deletes_no_newer_version_than_is_meant(self) -> None:
        """Who lags behind cannot delete what it has not seen."""
        with closing(self.make_store()) as store:
            key = make_record(1).key
            old = store.put(_A, make_record(1))
            new = store.put(_A, make_record(1, b'"newer"'))
            _equal(store.delete(_A, [key], versions={key: old}), 0)
            _equal(store.changes(_A, 0).stored, (make_record(1, b'"newer"'),))
            _equal(store.delete(_A, [key], versions={key: new}), 1)
            _equal(store.changes(_A, 0).stored, ())

    def test_tells_only_what_came_after(self) -> None:
        """`changes` since a position leaves out what was before it."""
        with closing(self.make_store()) as store:
            store.put(_A, make_record(1))
            position = store.put(_A, make_record(2))
            store.put(_A, make_record(3))
            store.delete(_A, [make_record(1).key])
            changes = store.changes(_A, position)
            _equal(changes.stored, (make_record(3),))
            _equal(changes.deleted, (make_record(1).key,))
            _expect(not changes.is_reset, "a reset after four changes")
            last = store.changes(_A, changes.position)
            _equal((last.stored, last.deleted, last.is_reset), ((), (), False))

    def test_positions_rise(self) -> None:
        """Each change of any tenant has a higher position than the one before."""
        with closing(self.make_store()) as store:
            positions = [store.changes(_A, 0).position]
            positions += [store.put((_A, _B)[n % 2], make_record(n)) for n in range(4)]
            store.delete(_A, [make_record(0).key])
            positions.append(store.changes(_B, 0).position)
            _expect(
                all(earlier < later for earlier, later in pairwise(positions)),
                f"positions {positions}",
            )

    def test_keeps_tenants_apart(self) -> None:
        """The same key under two tenants is two records."""
        with closing(self.make_store()) as store:
            store.put(_A, make_record(1, b"a"))
            start = store.put(_B, make_record(1, b"b"))
            _equal(store.delete(_A, [make_record(1).key]), 1)
            _equal(store.changes(_A, 0).stored, ())
            _equal(store.changes(_B, 0).stored, (make_record(1, b"b"),))
            _equal(store.changes(_B, start).deleted, ())

    def test_delete_counts_what_was_there(self) -> None:
        """Unknown and repeated keys are accepted and not counted."""
        with closing(self.make_store()) as store:
            for number in range(3):
                store.put(_A, make_record(number))
            keys = [make_record(number).key for number in (0, 7, 2, 0)]
            _equal(store.delete(_A, keys), 2)
            _equal(store.delete(_A, keys), 0)
            _equal(store.delete(_A, []), 0)
            _equal(store.changes(_A, 0).stored, (make_record(1),))

    def test_does_not_call_deleted_what_was_put_again(self) -> None:
        """The last word on a key counts."""
        with closing(self.make_store()) as store:
            position = store.put(_A, make_record(1))
            store.delete(_A, [make_record(1).key])
            store.put(_A, make_record(1, b"again"))
            changes = store.changes(_A, position)
            _equal((changes.stored, changes.deleted), ((make_record(1, b"again"),), ()))

    def test_has_changed_never_misses(self) -> None:
        """Readers at different positions each get their own answer."""
        with closing(self.make_store()) as store:
            start = store.changes(_A, 0).position
            first = store.put(_A, make_record(1))
            _expect(store.has_changed(start), "a put was missed")
            _expect(not store.has_changed(first), "changed though nobody wrote")
            _expect(store.has_changed(start), "a put was missed at the second look")
            store.delete(_A, [make_record(1).key])
            _expect(store.has_changed(first), "a delete was missed")
            position = store.changes(_A, first).position
            _expect(not store.has_changed(position), "changed though nobody wrote")
            store.put(_B, make_record(1))
            _expect(store.has_changed(start) and store.has_changed(first), "forgot a change")

    def test_unknown_position_is_a_reset(self) -> None:
        """A position this store never gave, such as of another one, gets everything."""
        with closing(self.make_store()) as store:
            position = store.put(_A, make_record(1))
            _expect(store.has_changed(position + 1000), "a position of the future is up to date")
            changes = store.changes(_A, position + 1000)
            _expect(changes.is_reset, "a position of the future was believed")
            _equal((changes.stored, changes.position), ((make_record(1),), position))

    def test_resets_whoever_missed_a_forgotten_deletion(self) -> None:
        """The log of deletions is bounded, and nobody is left with a deleted record."""
        with closing(self.make_store()) as store:
            store.put(_A, make_record(0))
            store.put(_A, make_record(1))
            late, prompt = Follower(_A), Follower(_A)
            late.follow(store)
            store.delete(_A, [make_record(0).key])
            for number in range(2, (self.remembered_changes or 0) + 3):
                prompt.follow(store)
                store.put(_A, make_record(number))
                store.delete(_A, [make_record(number).key])
            _expect(not prompt.follow(store).is_reset, "a reset without need")
            _expect(late.follow(store).is_reset, "the log of deletions is not bounded")
            _equal(late.records, {make_record(1).key: make_record(1)})
            _equal(prompt.records, late.records)

    def test_what_it_cannot_keep_changes_nothing(self) -> None:
        """Text that UTF-8 cannot hold is kept or refused with `StoreError`, never mangled."""
        bad = "\ud800"
        with closing(self.make_store()) as store:
            position = store.put(_A, make_record(1, b"old"))
            for fields in ({"question": bad}, {"model": bad}, {"tags": (bad,)}):
                record = make_record(1, b"new", **fields)
                try:
                    position = store.put(_A, record)
                except StoreError:
                    _expect(not store.has_changed(position), "changed by a refused put")
                else:
                    _equal(store.changes(_A, 0).stored, (record,))

    def test_closes_once_and_for_all(self) -> None:
        """Closing twice is fine; any other call on a closed store is a `StoreError`."""
        store = self.make_store()
        store.close()
        store.close()
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.put(_A, make_record(1)),
            lambda: store.delete(_A, [make_record(1).key]),
            lambda: store.changes(_A, 0),
            lambda: store.has_changed(0),
        )
        for call in calls:
            try:
                call()
            except StoreError:
                continue
            raise AssertionError("a closed store answers")

    def test_follower_becomes_equal_after_any_changes(self) -> None:
        """Who applies `changes` now and then has what the store has."""
        rng = random.Random(_SEED)  # noqa: S311 - reproducible on purpose
        truth: dict[bytes, dict[bytes, Record]] = {_A: {}, _B: {}}
        followers = [Follower(_A), Follower(_A), Follower(_B)]
        with closing(self.make_store()) as store:
            for step in range(400):
                tenant = rng.choice((_A, _B))
                if rng.random() < 0.6:
                    record = make_record(rng.randrange(12), b"%d" % step)
                    store.put(tenant, record)
                    truth[tenant][record.key] = record
                else:
                    keys = [make_record(rng.randrange(12)).key for _ in range(3)]
                    there = {key for key in keys if truth[tenant].pop(key, None)}
                    _equal(store.delete(tenant, keys), len(there))
                follower = rng.choice(followers)
                if rng.random() < 0.2:
                    follower.follow(store)
                    _equal(follower.records, truth[follower.tenant])

    def test_is_safe_for_threads(self) -> None:
        """Threads that write and read at once lose nothing and see positions rise."""
        with closing(self.make_store()) as store:
            _expect_no_error(store, writers=4, puts=40)
            follower = Follower(_A)
            follower.follow(store)
            _equal(len(follower.records), 4 * 30)

    def test_outlives_its_object(self) -> None:
        """A durable store opened again has all records, and positions go on."""
        follower = Follower(_A)
        with closing(self.make_store()) as store:
            store.put(_A, make_record(0))
            follower.follow(store)
            store.put(_A, make_record(1))
            store.delete(_A, [make_record(0).key])
            position = store.put(_B, make_record(2))
        with closing(self.reopen_store()) as store:
            follower.follow(store)
            _equal(follower.records, {make_record(1).key: make_record(1)})
            _equal(store.changes(_B, 0).stored, (make_record(2),))
            _expect(store.put(_A, make_record(3)) > position, "positions began anew")

    def test_shows_each_others_changes(self) -> None:
        """Two stores on the same records see what the other one does, at once."""
        with closing(self.make_store()) as one, closing(self.reopen_store()) as other:
            followers = [(one, Follower(_A)), (other, Follower(_A))]
            for number in range(3, 9):
                writer = (one, other)[number % 2]
                writer.put(_A, make_record(number))
                writer.delete(_A, [make_record(number - 3).key])
                for store, follower in followers:
                    _expect(store.has_changed(follower.position), "a change was missed")
                    follower.follow(store)
                    _expect(not store.has_changed(follower.position), "changed by itself")
            expected = {make_record(number).key: make_record(number) for number in (6, 7, 8)}
            for _, follower in followers:
                _equal(follower.records, expected)


def _expect_no_error(store: Store, *, writers: int, puts: int) -> None:
    """Write from several threads (every fourth record is deleted again) while two others read."""
    errors: list[BaseException] = []
    writing = threading.Event()

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        return threading.Thread(target=run)

    def write(writer: int) -> None:
        last = 0
        for number in range(writer * puts, (writer + 1) * puts):
            position = store.put(_A, make_record(number))
            _expect(position > last, f"position {position} after {last}")
            last = position
            if number % 4 == 0:
                _equal(store.delete(_A, [make_record(number).key]), 1)

    def read() -> None:
        follower = Follower(_A)
        while not writing.is_set() or store.has_changed(follower.position):
            follower.follow(store)

    def writer(index: int) -> threading.Thread:
        return guarded(lambda: write(index))

    readers = [guarded(read) for _ in range(2)]
    writer_threads = [writer(index) for index in range(writers)]
    for thread in readers + writer_threads:
        thread.start()
    for thread in writer_threads:
        thread.join()
    writing.set()
    for thread in readers:
        thread.join()
    if errors:
        raise errors[0]


def _expect(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _equal(found: object, expected: object) -> None:
    _expect(found == expected, f"found {found!r:.500}, expected {expected!r:.500}")
