"""Everything in the demo that touches the driver, and the reads that measure it."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import psycopg2

from _rows_board import Check, Write, differences
from _shop import COLUMNS, TABLE, select
from _wrapper_process import TENANT
from prism.ffi import DriverConfig, PrismDriverError, PrismDriverSync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _rows_board import RowsBoard
    from _shop import Clerks, Product, Shop
    from prism.ffi import ChangeNotice, DriverStatus

__all__ = ["PASTE_DRIVER", "PASTE_WRAPPER", "QUESTIONS", "Readers", "Replica"]

QUESTIONS = (
    "something warm for the winter",
    "a present for my little daughter",
    "coffee and tea at work",
    "sleeping outside in the rain",
)

PASTE_WRAPPER = """\
[database]
flavor = "postgresql"
dsn_env = "DATABASE_URL"    # postgresql://user:password@host/database

[chorus]
tenant_id = "my-app"
listen_port = 50051

[write]
tables = ["products"]       # what the app may write; leave it out for reads alone
"""

PASTE_DRIVER = """\
from prism.ffi import DriverConfig, PrismDriver

config = DriverConfig(wrapper_host="127.0.0.1", wrapper_port=50051, tenant_id="my-app")

async def look(text: str) -> None:
    async with PrismDriver(config) as driver:
        for match in await driver.query(text=text, top_k=5):
            print(match.row_id, match.score, match.text_repr)
        print(driver.status())
"""

_EQUAL_WITHIN_S = 20.0
_BATCH = 200
"""Point reads between two looks at the clock: one alone is not much longer than the look."""


class Replica:
    """The driver, in this process. Close it after use; closing twice is fine."""

    def __init__(self, port: int) -> None:
        self._driver = PrismDriverSync(
            DriverConfig(wrapper_host="127.0.0.1", wrapper_port=port, tenant_id=TENANT)
        )

    def open(self, board: RowsBoard) -> None:
        """Connect, and wait until the replica is whole."""
        self._driver.connect()

        def changed(notice: ChangeNotice) -> None:
            if notice.is_reset or notice.is_incomplete:
                board.arrivals.forget()
            board.arrivals.seen((*notice.upserted, *notice.deleted))

        self._driver.on_change(changed)

    def status(self) -> DriverStatus:
        """Tell how it stands."""
        return self._driver.status()

    def get(self, product_id: str) -> Product | None:
        """Read a row as the database would tell it."""
        row = self._driver.get(product_id, TABLE)
        if row is None:
            return None
        name, description, price, stock = (row.columns[column] for column in COLUMNS[1:])
        return str(row.columns[COLUMNS[0]]), str(name), str(description), str(price), _whole(stock)

    def read(self, product_ids: Sequence[str]) -> float:
        """Read rows, and give the seconds that one took."""
        get = self._driver.get
        start = time.perf_counter()
        for product_id in product_ids:
            get(product_id, TABLE)
        return (time.perf_counter() - start) / len(product_ids)

    def search(self, text: str) -> list[tuple[float, str]]:
        """Find the three rows that are nearest to a text: score and what the row says."""
        found = self._driver.query(text=text, top_k=3)
        return [(match.score, f"{match.row_id}: {match.text_repr}") for match in found]

    def write(self, shop: Shop, product: Product) -> Write:
        """Write a row through the driver, and look for it in both places."""
        start = time.perf_counter()
        self._driver.write(row_id=product[0], data=dict(zip(COLUMNS[1:], product[1:], strict=True)))
        seconds = time.perf_counter() - start
        return Write(
            product[0],
            seconds,
            shop.product(product[0]) == product,
            self.get(product[0]) == product,
        )

    def compare(self, shop: Shop, clerks: Clerks) -> Check:
        """Stop the clerks for a moment, ask the database for all rows, and compare each."""
        with clerks.paused():
            start = time.perf_counter()
            table = shop.products()
            while True:
                different = differences(
                    table,
                    self.get,
                    replica_rows=self._driver.status().rows,
                    gone=clerks.every_id | clerks.done.never,
                )
                waited_s = time.perf_counter() - start
                if not different or waited_s > _EQUAL_WITHIN_S:
                    return Check(len(table), different, waited_s)
                time.sleep(0.005)

    def close(self) -> None:
        """End the feed."""
        self._driver.close()


class Readers:
    """A thread that reads all the time, from the replica and, beside it, from the database."""

    def __init__(self, replica: Replica, shop: Shop, board: RowsBoard) -> None:
        self._replica, self._shop, self._board = replica, shop, board
        self._ids = sorted(shop.products())
        self._chance = random.Random(2)  # noqa: S311  which rows are read is no secret
        self._ended = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="demo-readers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Safe to repeat."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        board = self._board
        rounds = 0
        try:
            with self._shop.connected() as connection, connection.cursor() as cursor:
                connection.autocommit = True
                while not self._ended.wait(0.02):
                    ids = self._chance.choices(self._ids, k=_BATCH)
                    board.gets.values.append(self._replica.read(ids))
                    start = time.perf_counter()
                    select(cursor, ids[0])
                    board.selects.values.append(time.perf_counter() - start)
                    question = QUESTIONS[rounds // 50 % len(QUESTIONS)]
                    start = time.perf_counter()
                    found = self._replica.search(question)
                    board.queries.values.append(time.perf_counter() - start)
                    board.question, board.found = question, found
                    board.reads += _BATCH + 1
                    rounds += 1
        except (psycopg2.Error, PrismDriverError) as error:
            self.failure = error


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"stock is {type(value).__name__}, not a whole number")
    return value
