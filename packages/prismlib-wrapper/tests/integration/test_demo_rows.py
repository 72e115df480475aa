"""The rows' part of the demo: its counting, and the whole of it as a newcomer starts it."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from rich.console import Console
from wrapper_runs import eventually, free_port

from prism.wrapper._local_postgres import LocalPostgres

DEMO = Path(__file__).parents[4] / "docs" / "demo"
sys.path.append(str(DEMO))  # `python docs/demo` puts it there by itself

import _replica  # noqa: E402  found by the line above
import _shop  # noqa: E402
from _replica import PASTE_DRIVER, PASTE_WRAPPER  # noqa: E402
from _rows_board import Arrivals, Check, RowsBoard, differences  # noqa: E402
from _rows_report import check_line, duration, plain_rows, rows_table, tick_line  # noqa: E402
from _rows_views import LiveRowsView, PlainRowsView  # noqa: E402
from _shop import Change, Product  # noqa: E402

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
TABLE: dict[str, Product] = {
    "a": ("a", "lamp", "a lamp", "1.00", 1),
    "b": ("b", "tent", "a tent", "2.50", 0),
}


class TestArrivals:
    def test_pairs_a_commit_with_the_moment_it_is_seen(self) -> None:
        now = [10.0]
        arrivals = Arrivals(clock=lambda: now[0])
        arrivals.sending(Change("update", "a", "lamp"))
        assert not arrivals.settled("a")
        now[0] = 10.25
        arrivals.seen(["b", "a"])
        assert arrivals.settled("a")
        assert arrivals.lags_s == [0.25]
        assert [seen.change.product_id for seen in arrivals.latest] == ["a"]
        assert arrivals.ids_seen == {"a", "b"}

    def test_does_not_count_while_the_wrapper_is_away_on_purpose(self) -> None:
        arrivals = Arrivals()
        arrivals.sending(Change("update", "a", "lamp"))
        arrivals.is_measuring = False
        arrivals.seen(["a"])
        assert arrivals.lags_s == []
        assert arrivals.settled("a")

    def test_forgets_what_a_reset_swallowed(self) -> None:
        arrivals = Arrivals()
        arrivals.sending(Change("delete", "a", ""))
        arrivals.forget()
        arrivals.seen(["a"])
        assert arrivals.lags_s == []


class TestEquality:
    def compare(self, replica: dict[str, Product], rows: int | None = None) -> tuple[str, ...]:
        count = len(replica) if rows is None else rows
        return differences(TABLE, replica.get, replica_rows=count, gone={"a", "b", "gone"})

    def test_equal_is_equal(self) -> None:
        assert self.compare(dict(TABLE)) == ()

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"a": None}, "a"),
            ({"b": ("b", "tent", "a tent", "2.5", 0)}, "b"),
            ({"b": ("b", "tent", "a tent", "2.50", 1)}, "b"),
            ({"gone": ("gone", "", "", "1.00", 1)}, "gone"),
            ({"nobody knows": ("x", "", "", "1.00", 1)}, "3 rows instead of 2"),
        ],
    )
    def test_whatever_differs_is_named(self, change: dict[str, Any], named: str) -> None:
        replica = {key: row for key, row in {**TABLE, **change}.items() if row is not None}
        assert self.compare(replica) == (named,)

    def test_no_check_is_no_proof(self) -> None:
        board = RowsBoard()
        assert not board.equal
        board.checks.append(Check(2, (), 0.01))
        assert board.equal
        board.taken_back = 1
        assert not board.equal
        board.taken_back = 0
        board.checks.append(Check(2, ("a",), 20.0))
        assert not board.equal


class TestWords:
    def test_a_difference_is_told(self) -> None:
        assert check_line(Check(2, ("a", "b"), 1.0)) == "  NOT EQUAL: 2 of 2 rows differ: a, b"
        assert check_line(Check(2, (), 0.01)).startswith("  EQUAL: all 2 rows")

    @pytest.mark.parametrize(
        ("seconds", "text"), [(None, "-"), (7e-7, "0.7 us"), (0.0021, "2.1 ms"), (0.25, "250 ms")]
    )
    def test_latencies_have_the_unit_that_suits(self, seconds: float | None, text: str) -> None:
        assert duration(seconds) == text

    def test_nothing_measured_is_not_zero(self) -> None:
        figures = dict(rows_table(RowsBoard()))
        assert figures["COMMIT sent to visible, p50 / p99"] == "- / -"
        assert figures["EQUAL to the table, row for row"] == "not asked yet"

    def test_lines_are_even(self) -> None:
        assert len({len(line) for line in plain_rows(RowsBoard()).splitlines()}) == 1


class TestViews:
    def board(self) -> RowsBoard:
        board = RowsBoard(seconds=2.0, committed=1)
        board.arrivals.sending(Change("update", "product-1", "[bold]lamp[/], 3.00"))
        board.arrivals.seen(["product-1"])
        board.question, board.found = "a [lamp]?", [(0.5, "product-1: [lamp")]
        return board

    def test_live_view_shows_texts_as_typed(self) -> None:
        page = io.StringIO()
        console = Console(file=page, force_terminal=True, width=120, height=50, markup=False)
        view = LiveRowsView(console, seconds=2.0)
        view.update(self.board())
        view.close()
        for text in ("[bold]lamp[/], 3.00", "a [lamp]?", "product-1: [lamp", "not asked yet"):
            assert text in page.getvalue()

    def test_plain_view_prints_a_line_a_second(self) -> None:
        page = io.StringIO()
        view = PlainRowsView(Console(file=page, color_system=None, width=300), seconds=2.0)
        board = self.board()
        for board.seconds in (0.5, 1.1, 1.2, 1.9, 2.0):
            view.update(board)
        view.close()
        assert len(page.getvalue().splitlines()) == 2
        assert tick_line(board) in page.getvalue()


def started(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", str(DEMO), "--only", "rows", "--rows", "300", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"TMPDIR": str(folder), "FORCE_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not `tmp_path`: with a worker's name in it, a socket's path in there would be too long.
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        path = Path(name)
        path.chmod(0o711)  # as root the database runs as another user, who must get there
        yield path


def assert_nothing_is_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []

    def processes() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(folder).encode() in path.read_bytes():
                    found.append(str(path))
            except OSError:
                continue  # it has ended
        return found

    eventually(lambda: not processes(), why="processes are left")


class TestWhole:
    def test_json_for_machines(self, folder: Path) -> None:
        demo = started("--seconds", "3", "--json", folder=folder)
        out, err = demo.communicate(timeout=120)
        assert demo.returncode == 0, err
        assert err == ""
        rows = json.loads(out)["rows"]
        assert rows["equal"] is True
        assert len(rows["checks"]) == 2
        assert all(check["equal"] for check in (*rows["checks"], rows["crash"]["check"]))
        did = rows["transactions"]
        assert did["inserted"] + did["updated"] + did["deleted"] == did["committed"] > 0
        assert did["rolled_back"] > 0
        assert did["rolled_back_rows_seen"] == 0
        assert rows["commit_to_visible_s"]["measured"] > 0
        assert rows["crash"]["changes"] > 0
        assert rows["crash"]["reads"] > 0
        assert rows["write"]["in_database"] is rows["write"]["in_replica"] is True
        assert rows["reads"]["get_p50_s"] < rows["reads"]["select_p50_s"]
        assert_nothing_is_left(folder)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("when", ["PostgreSQL 18", "1. ", "2. "])
    def test_a_signal_ends_all_of_it(self, folder: Path, number: int, when: str) -> None:
        demo = started("--plain", "--seconds", "1", folder=folder)
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.strip().startswith(when):
                break
        demo.send_signal(number)
        out, err = demo.communicate(timeout=60)
        assert demo.returncode == (130 if number == signal.SIGINT else 143), err
        assert err == ""
        assert not CONTROL.search("".join(lines) + out)
        assert_nothing_is_left(folder)


@pytest.fixture
def main() -> Iterator[Any]:
    """The program, in this process, where it can be made to fail."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    spec = importlib.util.spec_from_file_location("demo_program", DEMO / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.main
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_replica_that_differs_is_told_and_is_a_failure(
    main: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = _replica.Replica.get

    def lying(self: _replica.Replica, product_id: str) -> Product | None:
        row = honest(self, product_id)
        return row and (*row[:4], row[4] + 1)  # of any row: the clerks may delete a chosen one

    monkeypatch.setattr(_replica.Replica, "get", lying)
    monkeypatch.setattr(_replica, "_EQUAL_WITHIN_S", 0.5)
    assert main(["--only", "rows", "--rows", "20", "--seconds", "1", "--plain", "--seed", "3"]) == 1
    said = capsys.readouterr().out
    assert "NOT EQUAL: the replica was not the table" in said
    assert re.search(r"NOT EQUAL: \d+ of \d+ rows differ: product-", said)


def test_a_missing_database_is_told_with_the_remedy(
    main: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_shop, "_VERSION", 99)
    assert main(["--only", "rows", "--plain"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("python docs/demo: PostgreSQL 99 is not on this machine; install")


def test_what_it_prints_to_paste_runs(
    postgres18: LocalPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connection = psycopg2.connect(postgres18.dsn())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE pasted")
    connection.close()
    with psycopg2.connect(postgres18.dsn(database="pasted")) as connection:
        connection.cursor().execute(
            "CREATE TABLE products (product_id text PRIMARY KEY, name text);"
            "INSERT INTO products VALUES ('product-1', 'a warm jacket'), ('product-2', 'a lamp')"
        )
    connection.close()
    port = str(free_port())
    config = tmp_path / "wrapper.toml"
    config.write_text(PASTE_WRAPPER.replace("50051", port))
    with (tmp_path / "output").open("wb") as output:
        wrapper = subprocess.Popen(
            [sys.executable, "-m", "prism.wrapper", "--config", str(config)],
            stdout=output,
            stderr=output,
            env=os.environ
            | {
                "DATABASE_URL": postgres18.dsn(database="pasted"),
                "XDG_STATE_HOME": str(tmp_path),
            },
        )
    try:
        eventually(
            lambda: b"listening" in (tmp_path / "output").read_bytes(),
            why=(tmp_path / "output").read_text(),
        )
        names: dict[str, Any] = {}
        exec(PASTE_DRIVER.replace("50051", port), names)  # noqa: S102  our own text
        asyncio.run(names["look"]("clothes for the winter"))
        said = capsys.readouterr().out
        assert said.startswith("product-1 ")
        assert "product-2 " in said
        assert "is_ready=True" in said
    finally:
        wrapper.terminate()
        assert wrapper.wait(60) == 0
        with psycopg2.connect(postgres18.dsn(database="pasted")) as connection:
            connection.cursor().execute("SELECT pg_drop_replication_slot('prism_my_app')")
        connection.close()
