"""Tests that hold any implementation of `Source` to the contract, against a real database.

With pytest, subclass and say how the database is reached; every test method then runs on tables and
a source of its own::

    from prism.wrapper.sources.conformance import SourceConformance, TypeSample


    class TestMySource(SourceConformance):
        @pytest.fixture(autouse=True)
        def _database(self, server):
            self.server = server

        def make_source(self): ...          # a new object; the same stream each time
        def execute(self, statements, *, rollback=False): ...
        def read(self, table): ...

What a source does not offer is found out from the class. Its tests do not exist in that class, and
`not_applicable` names them with the reason.

- *forgetful*: `lose_position` is overridden.
- *guarded*: `make_refused_source` is overridden.
- *typed*: `type_samples` is overridden.

The suite writes SQL that databases have in common, to the tables `conf_items` and `conf_pairs`
alone. It kills no process, since only the implementation knows how: see
`tests/integration/test_postgres_faults.py` for an example.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from prism.wrapper.sources._events import (
    Changes,
    Committed,
    SchemaChanged,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    SourceEvent,
)
from prism.wrapper.sources._protocol import Phase, Source
from prism.wrapper.sources._types import UNCHANGED, Change, Op, TableSchema
from prism.wrapper.sources.errors import SourceAccessError, SourceError

__all__ = ["Follower", "Replica", "SourceConformance", "TypeSample", "eventually"]

Rows = dict[tuple[str, ...], dict[str, str | None]]
Fetch = Callable[
    [TableSchema, Sequence[tuple[str, ...]]], Mapping[tuple[str, ...], tuple[str | None, ...]]
]
_PATIENCE_S: Final = 60.0
# What a source must offer for a test to make sense; see `SourceConformance`.
_NEEDS: Final = {
    "test_makes_a_new_snapshot_when_its_position_is_lost": "forgetful",
    "test_names_the_remedy_when_it_is_refused": "guarded",
    "test_tells_every_type_as_the_database_writes_it": "typed",
}


def eventually(
    condition: Callable[[], bool], what: str, *, patience_s: float = _PATIENCE_S
) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It did not within `patience_s`; `what` says what was waited for.
    """
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s:g} s: {what}")
        time.sleep(0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSample:
    """A column type and some of its values.

    Attributes:
        type_name: As in CREATE TABLE.
        literals: Values as SQL expressions.
    """

    type_name: str
    literals: tuple[str, ...]


class Replica:
    """The simplest consumer: rows by table and key, and the rules that events must keep."""

    def __init__(self) -> None:
        self.rows: dict[str, Rows] = {}
        self.schemas: dict[str, TableSchema] = {}
        self.snapshots: list[str] = []
        self.position: str | None = None
        self.events = 0
        self.fetch: Fetch | None = None
        self._in_snapshot = False
        self._open = False

    def apply(self, event: SourceEvent) -> str | None:
        """Take an event; returns the position that may be confirmed now, if there is one.

        Raises:
            AssertionError: The event may not come here.
        """
        self.events += 1
        if isinstance(event, SnapshotStarted):
            assert event.reason, "a snapshot must say why it is made"  # a test's own
            self.snapshots.append(event.reason)
            self.rows = {schema.table.name: {} for schema in event.tables}
            self.schemas = {schema.table.name: schema for schema in event.tables}
            self._in_snapshot, self._open, self.position = True, False, None
            return None
        if isinstance(event, SnapshotRows):
            assert self._in_snapshot, "rows of a snapshot outside one"
            self._change(event.changes)
            return None
        if isinstance(event, SnapshotDone):
            assert self._in_snapshot, "a snapshot ended that was not begun"
            self._in_snapshot = False
            self.position = event.position
            return event.position
        assert not self._in_snapshot, "the stream went on inside a snapshot"
        if isinstance(event, SchemaChanged):
            self.schemas[event.schema.table.name] = event.schema
            return None
        if isinstance(event, Changes):
            assert event.changes, "an event without changes"
            self._open = True
            self._change(event.changes)
            return None
        assert isinstance(event, Committed)
        self._open = False
        self.position = event.position
        return event.position

    def _change(self, changes: Iterable[Change]) -> None:
        for change in changes:
            name = change.schema.table.name
            assert self.schemas[name] == change.schema, "a schema that was not told"
            rows = self.rows.setdefault(name, {})
            if change.op is Op.TRUNCATE:
                rows.clear()
            elif change.op is Op.DELETE:
                rows.pop(change.key, None)
            else:
                self._upsert(rows, change)

    def _upsert(self, rows: Rows, change: Change) -> None:
        columns = [column.name for column in change.schema.columns]
        before = rows.get(change.key)
        if UNCHANGED in change.values and before is None:
            assert self.fetch is not None
            fetched = self.fetch(change.schema, [change.key]).get(change.key)
            if fetched is None:
                return  # its deletion is still to come
            before = dict(zip(columns, fetched, strict=True))
        row: dict[str, str | None] = {}
        for name, value in zip(columns, change.values, strict=True):
            if value is UNCHANGED:
                assert before is not None
                row[name] = before[name]
            else:
                row[name] = value
        rows[change.key] = row


class Follower:
    """Reads a source into a replica in a thread of its own, and confirms what it has.

    Args:
        source: Closed by `close`.
        replica: Goes on from its position, if it has one.
        confirming: Whether positions are confirmed.
    """

    def __init__(self, source: Source, replica: Replica, *, confirming: bool = True) -> None:
        self.source = source
        self.replica = replica
        replica.fetch = source.fetch
        self.error: BaseException | None = None
        self._confirming = confirming
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            for event in self.source.events(self.replica.position):
                position = self.replica.apply(event)
                if position is not None and self._confirming:
                    self.source.confirm(position)
        except BaseException as error:  # noqa: BLE001  # handed to the test that waits
            self.error = error

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds; the source's own error ends the wait."""

        def check() -> bool:
            if self.error is not None:
                raise self.error
            return condition()

        eventually(check, what)

    def close(self) -> None:
        """Close the source and wait for its thread."""
        self.source.close()
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "events() did not end after close()"
        if self.error is not None:
            raise self.error


class SourceConformance:
    """The tests. See the module for how to use them."""

    not_applicable: ClassVar[Mapping[str, str]] = {}

    large_rows: ClassVar[int] = 20_000
    """Rows of the large transactions: enough to leave the database's memory for them."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        missing: dict[str, str] = {}
        for name, need in _NEEDS.items():
            hook = {
                "forgetful": "lose_position",
                "guarded": "make_refused_source",
                "typed": "type_samples",
            }[need]
            if getattr(cls, hook) is getattr(SourceConformance, hook):
                missing[name] = f"the source is not {need}: {hook} is not overridden"
                setattr(cls, name, None)
        cls.not_applicable = missing

    # -- what an implementation gives

    def make_source(self, tables: Sequence[str]) -> Source:
        """Make a source of these tables; later calls continue the same stream."""
        raise NotImplementedError

    def execute(self, statements: Sequence[str], *, rollback: bool = False) -> None:
        """Run statements in one transaction; any thread."""
        raise NotImplementedError

    def read(self, table: str) -> Rows:
        """Read a table as it is: rows by key, values as the source would tell them."""
        raise NotImplementedError

    def lose_position(self) -> None:
        """Make the database forget where the stream was. The source is closed."""
        raise NotImplementedError

    def make_refused_source(self, tables: Sequence[str], password: str) -> Source:
        """Make a source whose password is wrong."""
        raise NotImplementedError

    def type_samples(self) -> Sequence[TypeSample]:
        """Every column type, with values at its limits."""
        raise NotImplementedError

    # -- tools

    def _create(self, rows: int = 0) -> None:
        self.execute(
            [
                (
                    "CREATE TABLE conf_items (id INTEGER PRIMARY KEY, name VARCHAR(100), "
                    "amount DECIMAL(12,3), body TEXT)"
                ),
                (
                    "CREATE TABLE conf_pairs (a INTEGER NOT NULL, b VARCHAR(20) NOT NULL, "
                    "note TEXT, PRIMARY KEY (b, a))"
                ),
            ]
        )
        if rows:
            self.execute(_inserts(range(1, rows + 1)))

    @contextmanager
    def _following(
        self, replica: Replica | None = None, *, confirming: bool = True
    ) -> Iterator[Follower]:
        source = self.make_source(("conf_items", "conf_pairs"))
        follower = Follower(source, replica or Replica(), confirming=confirming)
        try:
            yield follower
        finally:
            follower.close()

    def _settle(self, follower: Follower) -> None:
        """Wait until the replica holds what the tables hold, and a marker after it."""
        # A source that waits before its snapshot may find the marker in it: that is no stream yet.
        follower.wait_for(lambda: follower.replica.position is not None, "the snapshot")
        self._mark = getattr(self, "_mark", 0) + 1
        mark = str(-self._mark)
        self.execute([f"INSERT INTO conf_items VALUES ({mark}, 'marker', 0, '')"])
        follower.wait_for(
            lambda: (mark,) in follower.replica.rows.get("conf_items", {}), f"marker {mark}"
        )
        for table in ("conf_items", "conf_pairs"):
            follower.wait_for(
                lambda table=table: follower.replica.rows[table] == self.read(table),  # type: ignore[misc]  # bound now
                f"{table} and its replica are equal",
            )

    # -- the contract

    def test_tells_rows_that_were_there_before(self) -> None:
        """A snapshot holds all rows, and says why it is made."""
        self._create(rows=2500)
        with self._following() as follower:
            self._settle(follower)
            assert len(follower.replica.snapshots) == 1

    def test_tells_tables_without_rows(self) -> None:
        """An empty table is told of all the same, with columns and key."""
        self._create()
        with self._following() as follower:
            follower.wait_for(lambda: follower.replica.position is not None, "the snapshot")
            pairs = follower.replica.schemas["conf_pairs"]
            assert [pairs.columns[i].name for i in pairs.key] == ["a", "b"]

    def test_leaves_no_gap_between_snapshot_and_stream(self) -> None:
        """Writers never stop, and some of their work is rolled back."""
        self._create(rows=3000)
        stop = threading.Event()
        failures: list[BaseException] = []

        def write(seed: int) -> None:
            number = 0
            try:
                while not stop.is_set():
                    number += 1
                    new = 100_000 * seed + number
                    self.execute(
                        [
                            f"INSERT INTO conf_items VALUES ({new}, 'n{seed}', {number}, NULL)",
                            (
                                f"UPDATE conf_items SET name = 'u{new}' WHERE id % 7 = {new % 7} "
                                f"AND id % 100 = {seed}"
                            ),
                            f"DELETE FROM conf_items WHERE id = {number * 3 + seed}",
                        ],
                        rollback=number % 5 == 0,
                    )
            except BaseException as error:  # noqa: BLE001  # handed to the test
                failures.append(error)

        writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
        for writer in writers:
            writer.start()
        try:
            with self._following() as follower:
                follower.wait_for(lambda: follower.replica.position is not None, "the snapshot")
                begun = follower.replica.events
                follower.wait_for(lambda: follower.replica.events > begun + 50, "the stream")
                stop.set()
                for writer in writers:
                    writer.join(_PATIENCE_S)
                self._settle(follower)
        finally:
            stop.set()
        if failures:
            raise failures[0]

    def test_goes_on_from_a_position(self) -> None:
        """What happened while nobody looked is told, without a new snapshot."""
        self._create(rows=10)
        replica = Replica()
        with self._following(replica) as follower:
            self._settle(follower)
        self.execute(
            [
                *_inserts(range(100, 110)),
                "DELETE FROM conf_items WHERE id = 3",
                "UPDATE conf_items SET body = NULL WHERE id = 4",
            ]
        )
        with self._following(replica) as follower:
            self._settle(follower)
        assert len(replica.snapshots) == 1

    def test_repeats_what_was_not_confirmed(self) -> None:
        """A consumer that lost what it had not on disk gets it again."""
        self._create(rows=5)
        replica = Replica()
        with self._following(replica) as follower:
            self._settle(follower)
        position, rows = replica.position, {t: dict(r) for t, r in replica.rows.items()}
        with self._following(replica, confirming=False) as follower:
            self.execute(_inserts(range(100, 105)))
            self._settle(follower)
        replica.position, replica.rows = position, rows
        with self._following(replica) as follower:
            self._settle(follower)
        assert len(replica.snapshots) == 1

    def test_moves_a_row_whose_key_changes(self) -> None:
        """Also to a key that was just freed, and in a key of several columns."""
        self._create(rows=5)
        self.execute(["INSERT INTO conf_pairs VALUES (1, 'x', 'first'), (2, 'x', NULL)"])
        with self._following() as follower:
            self._settle(follower)
            self.execute(
                [
                    "UPDATE conf_items SET id = 50 WHERE id = 5",
                    "UPDATE conf_items SET id = 5 WHERE id = 4",
                    "UPDATE conf_pairs SET b = 'y''s' WHERE a = 1",
                ]
            )
            self._settle(follower)
            assert ("4",) not in follower.replica.rows["conf_items"]

    def test_empties_a_truncated_table(self) -> None:
        """Rows that came before are gone, rows that came after are there."""
        self._create(rows=20)
        with self._following() as follower:
            self._settle(follower)
            self.execute(["TRUNCATE TABLE conf_items"])
            self.execute(_inserts(range(7, 9)))
            self._settle(follower)

    def test_keeps_null_and_empty_apart(self) -> None:
        """NULL, the empty text, and texts with the marks that formats use."""
        self._create()
        texts = (
            "NULL",
            "''",
            "'NULL'",
            r"'\N'",
            "'tab\tline\nreturn\rend'",
            "'a,b\"c''d'",
            "'ä€😀'",
        )
        values = [f"({i}, {text}, NULL, {text})" for i, text in enumerate(texts)]
        self.execute([f"INSERT INTO conf_items VALUES {', '.join(values[:4])}"])
        with self._following() as follower:
            self._settle(follower)
            self.execute([f"INSERT INTO conf_items VALUES {', '.join(values[4:])}"])
            self.execute(["UPDATE conf_items SET name = NULL, body = '' WHERE id = 2"])
            self._settle(follower)
            assert follower.replica.rows["conf_items"][("0",)]["body"] is None
            assert follower.replica.rows["conf_items"][("1",)]["body"] == ""

    def test_keeps_large_values_that_an_update_leaves_alone(self) -> None:
        """They are not sent, and must not become NULL."""
        self._create()
        large = "'" + "".join(chr(97 + i * 7919 % 26) for i in range(40_000)) + "'"
        self.execute([f"INSERT INTO conf_items VALUES (1, 'a', 1, {large}), (2, 'b', 2, 'small')"])
        with self._following() as follower:
            self._settle(follower)
            self.execute(
                [
                    "UPDATE conf_items SET name = 'c' WHERE id = 1",
                    "UPDATE conf_items SET id = 3 WHERE id = 2",
                    "UPDATE conf_items SET id = 4 WHERE id = 1",
                ]
            )
            self._settle(follower)

    def test_follows_added_and_dropped_columns(self) -> None:
        """Rows are told with the columns they had when they changed."""
        self._create(rows=3)
        with self._following() as follower:
            self._settle(follower)
            self.execute(["ALTER TABLE conf_items ADD COLUMN extra INTEGER"])
            self.execute(["INSERT INTO conf_items VALUES (10, 'ten', 10, NULL, 5)"])
            self.execute(["UPDATE conf_items SET extra = id"])
            follower.wait_for(
                lambda: follower.replica.rows["conf_items"] == self.read("conf_items"),
                "rows with the new column",
            )
            self.execute(["ALTER TABLE conf_items DROP COLUMN name"])
            self.execute(["UPDATE conf_items SET extra = extra + 1"])
            follower.wait_for(
                lambda: follower.replica.rows["conf_items"] == self.read("conf_items"),
                "rows without the old column",
            )

    def test_notices_that_alter_rewrote_rows(self) -> None:
        """A column that comes with values, or another type, changes rows that no message tells."""
        self._create(rows=3)
        with self._following() as follower:
            self._settle(follower)
            self.execute(["ALTER TABLE conf_items ADD COLUMN extra INTEGER DEFAULT 7"])
            self.execute(["UPDATE conf_items SET name = 'seen' WHERE id = 1"])
            follower.wait_for(
                lambda: follower.replica.rows["conf_items"] == self.read("conf_items"),
                "rows with the default",
            )

    def test_tells_nothing_that_was_rolled_back(self) -> None:
        """Whole transactions, and parts of one behind a savepoint."""
        self._create(rows=3)
        with self._following() as follower:
            self._settle(follower)
            self.execute(_inserts(range(100, 120)), rollback=True)
            self.execute(
                [
                    *_inserts(range(200, 203)),
                    "SAVEPOINT one",
                    *_inserts(range(203, 206)),
                    "DELETE FROM conf_items WHERE id = 1",
                    "ROLLBACK TO SAVEPOINT one",
                    *_inserts(range(206, 208)),
                ]
            )
            self._settle(follower)
            assert ("204",) not in follower.replica.rows["conf_items"]

    def test_tells_large_transactions(self) -> None:
        """Larger than the database's memory for them, with parts and wholes rolled back."""
        self._create()
        count = self.large_rows
        with self._following() as follower:
            self._settle(follower)
            self.execute(_inserts(range(count)), rollback=True)
            self.execute(
                [
                    *_inserts(range(count)),
                    "SAVEPOINT one",
                    *_inserts(range(count, 2 * count)),
                    "UPDATE conf_items SET name = 'gone'",
                    "ROLLBACK TO SAVEPOINT one",
                    "DELETE FROM conf_items WHERE id < 10",
                    "INSERT INTO conf_items VALUES (999999, 'last', 1, NULL)",
                ]
            )
            self._settle(follower)

    def test_tells_every_type_as_the_database_writes_it(self) -> None:
        """In the snapshot, in the stream and by `fetch`, the same text."""
        samples = self.type_samples()
        columns = ", ".join(f"c{i} {sample.type_name}" for i, sample in enumerate(samples))
        self.execute([f"CREATE TABLE conf_items (id INTEGER PRIMARY KEY, {columns})"])
        self.execute(["CREATE TABLE conf_pairs (a INTEGER PRIMARY KEY)"])
        most = max(len(sample.literals) for sample in samples)

        def row(number: int, first: int) -> str:
            literals = [s.literals[number % len(s.literals)] for s in samples]
            return f"INSERT INTO conf_items VALUES ({first + number}, {', '.join(literals)})"

        self.execute([row(number, 0) for number in range(most)])
        with self._following() as follower:
            follower.wait_for(lambda: follower.replica.position is not None, "the snapshot")
            self.execute([row(number, 1000) for number in range(most)])
            follower.wait_for(
                lambda: len(follower.replica.rows["conf_items"]) == 2 * most, "the stream"
            )
            rows = follower.replica.rows["conf_items"]
            assert rows == self.read("conf_items")
            schema = follower.replica.schemas["conf_items"]
            names = [column.name for column in schema.columns]
            fetched = follower.source.fetch(schema, list(rows))
            assert {k: dict(zip(names, v, strict=True)) for k, v in fetched.items()} == rows

    def test_fetches_rows_as_they_are_now(self) -> None:
        """A key without a row is left out, also one that could be no key."""
        self._create(rows=5)
        self.execute(["INSERT INTO conf_pairs VALUES (1, 'it''s', 'n'), (2, 'x', NULL)"])
        with self._following() as follower:
            self._settle(follower)
            schema = follower.replica.schemas["conf_pairs"]
            key = ("1", "it's")
            fetched = follower.source.fetch(schema, [key, ("7", "x"), ("2", "')); --")])
            assert fetched == {key: ("1", "it's", "n")}
            assert follower.source.fetch(schema, []) == {}

    def test_makes_a_new_snapshot_when_its_position_is_lost(self) -> None:
        """It says why, and what happened in between is not missing."""
        self._create(rows=10)
        replica = Replica()
        with self._following(replica) as follower:
            self._settle(follower)
        self.lose_position()
        self.execute(["DELETE FROM conf_items WHERE id = 3", *_inserts(range(50, 60))])
        with self._following(replica) as follower:
            follower.wait_for(lambda: len(replica.snapshots) == 2, "a second snapshot")
            self._settle(follower)

    def test_names_the_remedy_when_it_is_refused(self) -> None:
        """A wrong password is for a person to mend; it is not repeated in the message."""
        self._create()
        secret = "hunter2-secret"  # noqa: S105  # wrong on purpose
        source = self.make_refused_source(("conf_items",), secret)
        try:
            next(iter(source.events(None)))
        except SourceAccessError as error:
            assert secret not in str(error)
            assert secret not in repr(source)
        else:
            raise AssertionError("a source without rights told something")
        finally:
            source.close()

    def test_refuses_positions_of_others(self) -> None:
        """Text that is no position of this source is an error, not a new snapshot."""
        self._create()
        source = self.make_source(("conf_items", "conf_pairs"))
        try:
            for use in (source.confirm, lambda text: next(iter(source.events(text)))):
                try:
                    use("somewhere")
                except ValueError:
                    continue
                raise AssertionError("a foreign position was taken")
        finally:
            source.close()

    def test_tells_how_it_is(self) -> None:
        """Status follows the phases, and is there after close."""
        self._create(rows=3)
        with self._following() as follower:
            follower.wait_for(lambda: follower.replica.position is not None, "the snapshot")
            self._settle(follower)
            follower.wait_for(
                lambda: follower.source.status().confirmed == follower.replica.position,
                "the confirmed position in the status",
            )
            status = follower.source.status()
            assert status.phase is Phase.STREAM
            assert status.connected
            assert status.snapshot_rows == 3
            assert status.last_error is None
        assert follower.source.status().phase is Phase.CLOSED

    def test_ends_when_it_is_closed(self) -> None:
        """From another thread, while it waits; then nothing else works, and closing again does."""
        self._create(rows=1)
        with self._following() as follower:
            self._settle(follower)
            schema = follower.replica.schemas["conf_items"]
        follower.source.close()
        try:
            follower.source.fetch(schema, [("1",)])
        except SourceError:
            pass
        else:
            raise AssertionError("a closed source fetched")
        assert list(follower.source.events(None)) == []


def _inserts(ids: Iterable[int]) -> list[str]:
    """Statements that insert rows with these ids, a thousand at once."""
    wanted = list(ids)
    statements = []
    for first in range(0, len(wanted), 1000):
        values = ", ".join(
            f"({i}, 'name {i}', {i}.125, 'body of {i}')" for i in wanted[first : first + 1000]
        )
        statements.append(f"INSERT INTO conf_items VALUES {values}")
    return statements
