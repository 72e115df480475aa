"""The CockroachDB source when things break, and the double that it is tested against."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from cockroach_double import CockroachDouble

from prism.wrapper.sources import (
    Phase,
    SourceAccessError,
    SourceConfigurationError,
    SourceError,
    SourceUnavailableError,
    TableRefusedError,
)
from prism.wrapper.sources.cockroach import CockroachSettings, CockroachSource, Verdict, check
from prism.wrapper.sources.conformance import Follower, Replica, eventually


@pytest.fixture
def double() -> Iterator[CockroachDouble]:
    with CockroachDouble() as double:
        run(double, "CREATE TABLE items (id INT8 PRIMARY KEY, name STRING, n INT8)")
        run(double, "CREATE TABLE pairs (a INT8, b STRING, n INT8, PRIMARY KEY (b, a))")
        yield double


def run(double: CockroachDouble, *statements: str) -> None:
    with psycopg.connect(double.dsn()) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def settings(double: CockroachDouble, **changes: Any) -> CockroachSettings:
    quick: dict[str, Any] = {
        "dsn": double.dsn(),
        "tables": ("items", "pairs"),
        "resolved_interval_s": 0.02,
        "idle_interval_s": 0.1,
        "watch_interval_s": 0.1,
        "longest_backoff_s": 0.2,
        "first_contact_s": 0.5,
    }
    return CockroachSettings(**{**quick, **changes})


def is_equal(double: CockroachDouble, replica: Replica) -> bool:
    return all(replica.rows.get(name) == double.store.rows(name) for name in ("items", "pairs"))


def test_breaks_at_any_message_lose_nothing(double: CockroachDouble) -> None:
    """Connections are reset after a few messages, in the snapshot and in the stream."""
    chance = random.Random(7)
    double.repeats = 0.4
    run(double, *(f"INSERT INTO items VALUES ({n}, 'n', {n})" for n in range(40)))
    double.cut_after = 25
    replica = Replica()
    follower = Follower(CockroachSource(settings(double)), replica)
    try:
        eventually(lambda: len(replica.snapshots) > 1, "a snapshot that was interrupted")
        assert "interrupted" in replica.snapshots[1]
        double.cut_after = None
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        snapshots = len(replica.snapshots)
        for turn in range(8):
            double.cut_after = chance.randint(1, 12)
            cuts = follower.source.status().reconnects
            double.disconnect()
            for _ in range(6):
                a, b = chance.randint(1, 9), chance.choice("xy")
                run(
                    double,
                    f"UPSERT INTO pairs VALUES ({a}, '{b}', {turn})",
                    f"DELETE FROM items WHERE id = {chance.randint(0, 39)}",
                    f"UPDATE items SET n = n + 1 WHERE id % 5 = {turn % 5}",
                )
            follower.wait_for(
                lambda cuts=cuts: follower.source.status().reconnects > cuts,  # type: ignore[misc]  # bound now
                "a new connection",
            )
        double.cut_after = None
        follower.wait_for(lambda: is_equal(double, replica), "equal tables")
        assert len(replica.snapshots) == snapshots
        assert follower.source.status().reconnects >= 8
        assert follower.source.status().last_error is None
    finally:
        follower.close()


def test_a_process_that_dies_goes_on_from_its_disk(double: CockroachDouble) -> None:
    """The source is dropped at random moments; rows and position go back to what was kept."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            run(
                double,
                f"UPSERT INTO items VALUES ({number % 50}, 'n{number}', {number})",
                f"UPSERT INTO pairs VALUES ({number % 7}, 'x', {number})",
                f"DELETE FROM items WHERE id = {(number * 7) % 50}",
            )

    writer = threading.Thread(target=write)
    writer.start()
    replica = Replica()
    try:
        for turn in range(6):
            kept = {name: dict(rows) for name, rows in replica.rows.items()}
            position = replica.position
            source = CockroachSource(settings(double))
            events = source.events(position)
            for number, event in enumerate(events):
                if replica.apply(event) is not None:
                    position = replica.position
                    kept = {name: dict(rows) for name, rows in replica.rows.items()}
                if number > 20 + turn and position is not None:
                    break
            source.close()
            events.close()  # type: ignore[attr-defined]  # a generator
            replica.position, replica.rows = position, kept
        assert len(replica.snapshots) == 1
    finally:
        stop.set()
        writer.join()
    follower = Follower(CockroachSource(settings(double)), replica)
    try:
        follower.wait_for(lambda: is_equal(double, replica), "equal tables")
    finally:
        follower.close()


def test_a_renamed_column_begins_a_new_snapshot(double: CockroachDouble) -> None:
    """No message tells it; the catalogue does."""
    run(double, "INSERT INTO items VALUES (1, 'n', 1)")
    replica = Replica()
    follower = Follower(CockroachSource(settings(double)), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        run(double, "ALTER TABLE items RENAME COLUMN name TO title")
        follower.wait_for(lambda: len(replica.snapshots) == 2, "a second snapshot")
        assert "renamed" in replica.snapshots[1]
        follower.wait_for(lambda: is_equal(double, replica), "equal tables")
    finally:
        follower.close()


def test_columns_that_messages_lack_are_learned(double: CockroachDouble) -> None:
    """The catalogue has a column that no message tells: the snapshot begins again without it."""
    double.untold.add("n")
    run(double, "INSERT INTO items VALUES (1, 'a', 1)", "INSERT INTO pairs VALUES (1, 'x', 1)")
    replica = Replica()
    follower = Follower(CockroachSource(settings(double)), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        assert "other columns" in replica.snapshots[-1]
        snapshots = len(replica.snapshots)
        double.disconnect()
        run(double, "UPDATE items SET name = 'b'")
        follower.wait_for(
            lambda: replica.rows["items"] == {("1",): {"id": "1", "name": "b"}}, "the change"
        )
        assert len(replica.snapshots) == snapshots <= 3
    finally:
        follower.close()


def test_columns_that_change_while_it_is_down_begin_a_new_snapshot(double: CockroachDouble) -> None:
    replica = Replica()
    follower = Follower(CockroachSource(settings(double)), replica)
    follower.wait_for(lambda: replica.position is not None, "the snapshot")
    follower.close()
    run(double, "ALTER TABLE items ADD COLUMN more INT8 DEFAULT 3")
    follower = Follower(CockroachSource(settings(double)), replica)
    try:
        follower.wait_for(lambda: len(replica.snapshots) == 2, "a second snapshot")
        assert "columns are others" in replica.snapshots[1]
        follower.wait_for(lambda: is_equal(double, replica), "equal tables")
    finally:
        follower.close()


def test_a_dropped_table_ends_it(double: CockroachDouble) -> None:
    follower = Follower(CockroachSource(settings(double)), Replica())
    eventually(lambda: follower.replica.position is not None, "the snapshot")
    run(double, "DROP TABLE pairs")
    eventually(lambda: follower.error is not None, "the end")
    assert isinstance(follower.error, SourceConfigurationError)
    assert "pairs" in str(follower.error)
    follower.source.close()


def test_an_idle_stream_moves_its_position(double: CockroachDouble) -> None:
    replica = Replica()
    follower = Follower(CockroachSource(settings(double)), replica)
    try:
        follower.wait_for(lambda: replica.position is not None, "the snapshot")
        before = replica.position
        follower.wait_for(lambda: replica.position != before, "a later position")
        assert len(replica.snapshots) == 1
    finally:
        follower.close()


def test_a_changefeed_that_falls_silent_is_started_anew(double: CockroachDouble) -> None:
    """Its server sends neither rows nor marks, and keeps the connection."""
    double.play([(None, None, '{"resolved":"9000000000000000000.0000000000"}')])
    follower = Follower(CockroachSource(settings(double, silence_s=0.3)), Replica())
    try:
        follower.wait_for(
            lambda: "sent nothing" in (follower.source.status().last_error or ""), "the silence"
        )
        assert follower.source.status().phase is not Phase.STREAM
    finally:
        follower.close()


def test_a_consumer_that_stands_still_is_no_silent_server(double: CockroachDouble) -> None:
    run(double, "INSERT INTO items VALUES (1, 'a', 1)")
    source = CockroachSource(settings(double, silence_s=0.2))
    replica = Replica()
    for event in source.events(None):
        replica.apply(event)
        if replica.position is not None and replica.events > 6:
            break
        threading.Event().wait(0.5)
    assert source.status().reconnects == 0
    assert len(replica.snapshots) == 1
    source.close()


def test_recorded_messages_over_the_wire() -> None:
    """As the manual prints them ("Changefeed Messages" and "JSON", v25.2), with marks between."""
    messages = [
        (
            "test",
            f"[{key}]",
            (
                f'{{"after": {{"data": {value}, "id": {key}}}, "key": [{key}], '
                f'"updated": "9000000000000000000.000000000{key}"}}'
            ),
        )
        for key, value in ((1, "null"), (2, '{"__crdb_json_null__": true}'))
    ]
    with CockroachDouble() as double:
        run(double, "CREATE TABLE test (id INT8 PRIMARY KEY, data JSONB)")
        double.play(
            [
                (None, None, '{"resolved":"8000000000000000000.0000000000"}'),
                *messages,
                (None, None, '{"resolved":"9000000000000000000.0000000009"}'),
            ]
        )
        replica = Replica()
        follower = Follower(CockroachSource(settings(double, tables=("test",))), replica)
        try:
            follower.wait_for(lambda: len(replica.rows.get("test", {})) == 2, "two rows")
            assert replica.rows["test"] == {
                ("1",): {"id": "1", "data": None},
                ("2",): {"id": "2", "data": "null"},
            }
        finally:
            follower.close()


def _no_right(double: CockroachDouble) -> dict[str, Any]:
    double.blind.add(("prism", "pairs"))
    return {"dsn": double.dsn(user="prism")}


def _no_rangefeed(double: CockroachDouble) -> dict[str, Any]:
    double.rangefeed = False
    return {}


def _old(double: CockroachDouble) -> dict[str, Any]:
    double.version = "v21.2.4"
    return {}


def _postgres(double: CockroachDouble) -> dict[str, Any]:
    double.version = ""
    return {}


def _families(double: CockroachDouble) -> dict[str, Any]:
    run(double, "CREATE TABLE wide (id INT8 PRIMARY KEY, n INT8, FAMILY f (id), FAMILY g (n))")
    return {"tables": ("wide",)}


def _keyless(double: CockroachDouble) -> dict[str, Any]:
    run(double, "CREATE TABLE bare (n INT8)")
    return {"tables": ("bare",)}


def _missing(double: CockroachDouble) -> dict[str, Any]:
    return {"tables": ("nowhere",)}


def _clear_text(double: CockroachDouble) -> dict[str, Any]:
    double.passwords["prism"] = "right"
    double.scram = False
    return {"dsn": double.dsn(user="prism", password="wrong-secret")}  # noqa: S106  # wrong


def _nobody(double: CockroachDouble) -> dict[str, Any]:
    double.stop_listening()
    return {}


@pytest.mark.parametrize(
    ("arrange", "kind", "says"),
    [
        (_no_right, SourceAccessError, 'GRANT SELECT ON TABLE "public"."pairs" TO "prism";'),
        (_no_rangefeed, SourceAccessError, "SET CLUSTER SETTING kv.rangefeed.enabled = true;"),
        (_old, SourceConfigurationError, "22.1 is the oldest"),
        (_postgres, SourceConfigurationError, "not CockroachDB"),
        (_families, TableRefusedError, "column families"),
        (_keyless, TableRefusedError, "ALTER PRIMARY KEY USING COLUMNS"),
        (_missing, SourceConfigurationError, "nowhere"),
        (_clear_text, SourceAccessError, "Check user and password"),
        (_nobody, SourceUnavailableError, "cannot connect"),
    ],
)
def test_refusals_say_what_to_do(
    double: CockroachDouble,
    arrange: Callable[[CockroachDouble], dict[str, Any]],
    kind: type[SourceError],
    says: str,
) -> None:
    source = CockroachSource(settings(double, **arrange(double)))
    with pytest.raises(kind) as refused:
        list(source.events(None))
    assert says in str(refused.value)
    assert "wrong-secret" not in str(refused.value)
    source.close()


def test_check_says_what_is_missing(double: CockroachDouble) -> None:
    run(double, "CREATE TABLE wide (id INT8 PRIMARY KEY, n INT8, FAMILY f (id), FAMILY g (n))")
    run(double, "CREATE TABLE bare (n INT8)")
    found = check(settings(double, tables=("items", "wide", "bare", "nowhere")))
    verdicts = {finding.subject: finding.verdict for finding in found}
    assert verdicts == {
        "version": Verdict.OK,
        "kv.rangefeed.enabled": Verdict.OK,
        "items": Verdict.OK,
        '"public"."wide"': Verdict.PROBLEM,
        '"public"."bare"': Verdict.PROBLEM,
        "nowhere": Verdict.PROBLEM,
    }
    double.rangefeed = False
    double.blind.add(("prism", "items"))
    by_role = {
        user: {f.subject: f for f in check(settings(double, dsn=double.dsn(user=user)))}
        for user in ("root", "prism")
    }
    assert by_role["root"]["kv.rangefeed.enabled"].verdict is Verdict.PROBLEM
    # Who may not see the setting is told to ask.
    assert by_role["prism"]["kv.rangefeed.enabled"].verdict is Verdict.WARNING
    assert "GRANT SELECT" in by_role["prism"]['"public"."items"'].remedy


def test_the_double_by_psycopg(double: CockroachDouble) -> None:
    """Not through the source: SCRAM, `Cursor.stream` (extended protocol), rollback and cancel."""
    double.passwords["prism"] = "right"
    dsn = double.dsn(user="prism", password=double.passwords["prism"])
    with psycopg.connect(dsn, autocommit=True) as reader:
        run(double, "INSERT INTO items VALUES (1, 'n', 1)")
        with psycopg.connect(double.dsn()) as writer:
            writer.execute("INSERT INTO items VALUES (2, 'never', 2)")
            writer.rollback()
        rows = reader.cursor().stream("CREATE CHANGEFEED FOR TABLE items WITH updated, resolved")
        name, key, value = next(rows)
        assert (name, key) == ("items", b"[1]")
        assert value.startswith(b'{"after": {"id": 1, "n": 1, "name": "n"}, "updated": "')
        reader.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            list(rows)
