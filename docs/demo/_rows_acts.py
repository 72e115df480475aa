"""The rows' part: a PostgreSQL, the real wrapper, a driver, and rows that change."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from _replica import QUESTIONS, Readers, Replica
from _report import milliseconds
from _rows_board import Crash, RowsBoard
from _rows_report import as_dict, check_line, duration, plain_rows
from _shop import Clerks, Shop
from _wrapper_process import WrapperProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from _rows_board import Write
    from _rows_views import RowsView

__all__ = ["RowsResult", "show_rows"]

TRANSACTIONS_PER_S = 100.0
CHECK_EVERY_S = 2.0
AWAY_S = 1.0
"""How long the wrapper stays away after it was killed."""

_REDRAW_S = 0.1
_WRITTEN = ("product-42", "camping stove", "a gas stove for long winters", "29.99", 150)


@dataclass(frozen=True, slots=True)
class RowsResult:
    """What came out."""

    board: RowsBoard
    write: Write
    crash: Crash
    starting_s: dict[str, float]

    @property
    def equal(self) -> bool:
        """Whether the replica was the table each time it was asked, and the write was in both."""
        return self.to_dict()["equal"] is True

    def to_dict(self) -> dict[str, object]:
        """Give it for machines."""
        return as_dict(self.board, self.write, self.crash, starting_s=self.starting_s)


def show_rows(
    console: Console,
    view: RowsView,
    heading: Callable[[str], None],
    *,
    rows: int,
    seconds: float,
    seed: int,
) -> RowsResult:
    """Run all of it. Whatever happens, every process has ended afterwards and its files are gone.

    Raises:
        WrapperFailedError: The wrapper did not start, or ended.
        prism.wrapper.errors.WrapperError: There is no PostgreSQL, or it did not start.
        prism.ffi.PrismDriverError: The driver could not connect.
    """
    board = RowsBoard()
    starting_s: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prism-demo-")))
        shop = stack.enter_context(closing(Shop(folder)))
        with _timed(starting_s, "postgresql"):
            shop.open(rows=rows, seed=seed)
        console.print(
            f"  PostgreSQL {shop.version} with {rows:,} products: {_told(starting_s, 'postgresql')}"
        )
        wrapper = stack.enter_context(closing(WrapperProcess(folder, dsn=shop.dsn)))
        with _timed(starting_s, "wrapper"):
            wrapper.start()
        console.print(
            f"  prism-wrapper --config wrapper.toml, process {wrapper.pid}:"
            f" {_told(starting_s, 'wrapper')}"
        )
        replica = stack.enter_context(closing(Replica(wrapper.port)))
        with _timed(starting_s, "replica"):
            replica.open(board)
        told = replica.status()
        with _timed(starting_s, "model"):
            replica.search(QUESTIONS[0])
        console.print(
            f"  PrismDriver in this process, {told.rows:,} rows: {_told(starting_s, 'replica')};"
            f" model for searches by text: {_told(starting_s, 'model')}"
        )
        clerks = stack.enter_context(
            closing(
                Clerks(
                    shop,
                    seed=seed,
                    per_s=TRANSACTIONS_PER_S,
                    sending=board.arrivals.sending,
                    settled=board.arrivals.settled,
                )
            )
        )
        readers = stack.enter_context(closing(Readers(replica, shop, board)))
        # The first thing at the end: a second Ctrl-C must not leave processes behind.
        stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
        demo = _Demo(shop, wrapper, replica, clerks, readers, board)

        heading(f"Rows change for {seconds:g} s, {TRANSACTIONS_PER_S:g} transactions a second")
        with closing(view):
            demo.watch(view, seconds)
        console.print(plain_rows(board))
        if board.checks:
            console.print(check_line(board.checks[-1]))

        heading(f"The wrapper is killed (SIGKILL), and started again after {AWAY_S:g} s")
        crash = demo.crash()
        console.print(
            f"  {crash.changes} transactions and {crash.reads:,} reads while it was away,"
            f" {milliseconds(crash.away_s)}"
        )
        console.print(check_line(crash.check))

        heading("The app writes a row through the driver, and reads it")
        write = replica.write(shop, _WRITTEN)
        console.print(
            f"  {write.row_id}: committed, and visible here, after {duration(write.seconds)};"
            f" in the database: {_yes(write.in_database)}, in the replica: {_yes(write.in_replica)}"
        )
    return RowsResult(board, write, crash, starting_s)


class _Demo:
    """The parts at work, watched from the main thread."""

    def __init__(
        self,
        shop: Shop,
        wrapper: WrapperProcess,
        replica: Replica,
        clerks: Clerks,
        readers: Readers,
        board: RowsBoard,
    ) -> None:
        self._shop, self._wrapper, self._replica = shop, wrapper, replica
        self._clerks, self._readers, self._board = clerks, readers, board

    def watch(self, view: RowsView, seconds: float) -> None:
        """Show what happens, and compare with the database now and then."""
        start, checked = time.perf_counter(), 0.0
        board = self._board
        while board.seconds < seconds:
            time.sleep(_REDRAW_S)
            self._fail_if_one_failed()
            board.seconds = time.perf_counter() - start
            if board.seconds - checked >= CHECK_EVERY_S or board.seconds >= seconds:
                board.checks.append(self._replica.compare(self._shop, self._clerks))
                checked = board.seconds
            self._count()
            view.update(board)

    def crash(self) -> Crash:
        """Kill the wrapper while rows change and are read; start it again; compare."""
        board = self._board
        board.arrivals.is_measuring = False
        changes, reads = self._clerks.done.committed, board.reads
        start = time.perf_counter()
        self._wrapper.kill()
        time.sleep(AWAY_S)
        self._wrapper.start()
        away_s = time.perf_counter() - start
        changes, reads = self._clerks.done.committed - changes, board.reads - reads
        check = self._replica.compare(self._shop, self._clerks)
        self._fail_if_one_failed()
        self._count()
        return Crash(away_s, changes, reads, check)

    def _count(self) -> None:
        board, done, status = self._board, self._clerks.done, self._replica.status()
        board.committed, board.rolled_back = done.committed, done.rolled_back
        board.inserted, board.updated, board.deleted = done.inserted, done.updated, done.deleted
        board.replica_rows, board.lag_rows = status.rows, status.lag_rows
        board.taken_back = len(board.arrivals.ids_seen & done.never)

    def _fail_if_one_failed(self) -> None:
        self._wrapper.check()
        for thread in (self._clerks, self._readers):
            if thread.failure is not None:
                raise thread.failure


@contextlib.contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[name] = time.perf_counter() - start


def _told(times: dict[str, float], name: str) -> str:
    return milliseconds(times[name])


def _yes(value: bool) -> str:  # noqa: FBT001  it is all there is to say
    return "yes" if value else "NO"
