"""A PostgreSQL of its own with a table of products, and people who change it."""

from __future__ import annotations

import contextlib
import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import psycopg2

from prism.wrapper._local_postgres import LocalPostgres, find_postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from psycopg2.extensions import connection as Connection  # noqa: N812  its name in psycopg2
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

__all__ = ["COLUMNS", "TABLE", "Change", "Clerks", "Done", "Product", "Shop", "select"]

TABLE = "products"
COLUMNS = ("product_id", "name", "description", "price", "stock")

_VERSION = 18
_SCHEMA = """
CREATE TABLE products (
    product_id text PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL,
    price numeric(10, 2) NOT NULL,
    stock integer NOT NULL
)
"""
_SELECT = "SELECT product_id, name, description, price::text, stock FROM products"
_THINGS = ("lamp", "kettle", "rucksack", "tent", "keyboard", "jacket", "drill", "novel", "bicycle")
_KINDS = ("light", "sturdy", "foldable", "silent", "waterproof", "wooden", "cordless", "heated")
_USES = ("for travel", "for the office", "for small kitchens", "for children", "for long winters")

Product: TypeAlias = tuple[str, str, str, str, int]
"""A row as the database tells it, in the order of `COLUMNS`."""

Kind = Literal["insert", "update", "delete", "rollback"]


class Shop:
    """The database. Close it after use; closing twice is fine."""

    def __init__(self, folder: Path) -> None:
        # As root the server runs as another user, who must be able to reach its folder below ours.
        folder.chmod(0o711)
        # A commit waits for its flush, as everywhere: changes are sent only once they are flushed,
        # which the server otherwise does each 200 ms.
        self._server = LocalPostgres(
            find_postgres(_VERSION), folder=folder / "pg", settings={"synchronous_commit": "on"}
        )

    def open(self, *, rows: int, seed: int) -> Self:
        """Start the server and fill the table."""
        self._server.start()
        chance = random.Random(seed)  # noqa: S311  the same shop each time
        with self.connected() as connection, connection, connection.cursor() as cursor:
            cursor.execute(_SCHEMA)
            cursor.executemany(
                "INSERT INTO products VALUES (%s, %s, %s, %s, %s)",
                [_product(f"product-{number}", chance) for number in range(1, rows + 1)],
            )
        return self

    @property
    def version(self) -> int:
        """PostgreSQL's major version."""
        return self._server.version

    @property
    def dsn(self) -> str:
        """How to connect."""
        return self._server.dsn()

    def connected(self) -> contextlib.closing[Connection]:
        """Give a connection that is closed at the end of a `with`."""
        return contextlib.closing(psycopg2.connect(self.dsn))

    def products(self) -> dict[str, Product]:
        """Ask the database for all rows, by key."""
        with self.connected() as connection, connection.cursor() as cursor:
            cursor.execute(_SELECT)
            return {row[0]: row for row in cursor}

    def product(self, product_id: str) -> Product | None:
        """Ask the database for one row."""
        with self.connected() as connection, connection.cursor() as cursor:
            return select(cursor, product_id)

    def close(self) -> None:
        """Stop the server."""
        self._server.close()


@dataclass(frozen=True, slots=True)
class Change:
    """One change, as the shop made it.

    Attributes:
        kind: What it was.
        product_id: Of which row.
        told: What there is to show of it.
    """

    kind: Kind
    product_id: str
    told: str


@dataclass(slots=True)
class Done:
    """What the clerks have done so far."""

    committed: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    rolled_back: int = 0
    never: set[str] = field(default_factory=set)
    """Ids that were inserted in transactions that were rolled back: nobody may ever see them."""


class Clerks:
    """A thread that changes rows: inserts, updates, deletes, and now and then a rollback.

    Args:
        shop: The database.
        seed: Equal seeds give equal changes.
        per_s: Transactions a second.
        sending: Called with a change just before its COMMIT is sent. Only one change of a row is
            on its way at a time: `settled` says whether it has arrived.
        settled: See above.
    """

    def __init__(
        self,
        shop: Shop,
        *,
        seed: int,
        per_s: float,
        sending: Callable[[Change], None],
        settled: Callable[[str], bool],
    ) -> None:
        self._shop = shop
        self._chance = random.Random(seed)  # noqa: S311  repeatable changes, no secret
        self._pause_s = 1 / per_s
        self._sending, self._settled = sending, settled
        self._ids = sorted(shop.products())
        self._next = len(self._ids)
        self._at_work = threading.Lock()  # held during each transaction
        self._ended = threading.Event()
        self.done = Done()
        self.every_id = set(self._ids)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="demo-clerks", daemon=True)
        self._thread.start()

    def paused(self) -> threading.Lock:
        """Give a lock: while it is held no transaction is open and none begins."""
        return self._at_work

    def close(self) -> None:
        """End the thread. Safe to repeat."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._shop.connected() as connection:
                while not self._ended.wait(self._pause_s):
                    with self._at_work:
                        self._transaction(connection)
        except psycopg2.Error as error:
            self.failure = error

    def _transaction(self, connection: Connection) -> None:
        kind = self._chance.choices(
            ("update", "insert", "delete", "rollback"), cum_weights=(55, 75, 90, 100)
        )[0]
        with connection.cursor() as cursor:
            if kind == "rollback":
                self._change_mind(cursor)
                connection.rollback()
                self.done.rolled_back += 1
                return
            change = getattr(self, f"_{kind}")(cursor)
            if change is None:
                connection.rollback()
                return
            self._sending(change)
            connection.commit()
        self.done.committed += 1
        if kind == "insert":
            self.done.inserted += 1
            self._ids.append(change.product_id)
        elif kind == "delete":
            self.done.deleted += 1
            self._ids.remove(change.product_id)
        else:
            self.done.updated += 1

    def _insert(self, cursor: Cursor) -> Change:
        self._next += 1
        product = _product(f"product-{self._next}", self._chance)
        self.every_id.add(product[0])
        cursor.execute("INSERT INTO products VALUES (%s, %s, %s, %s, %s)", product)
        return Change("insert", product[0], f"{product[1]}, {product[3]}")

    def _update(self, cursor: Cursor) -> Change | None:
        product_id = self._some_id()
        if product_id is None:
            return None
        cursor.execute(
            "UPDATE products SET stock = greatest(0, stock + %s), price = price + %s"
            " WHERE product_id = %s RETURNING name, price, stock",
            (self._chance.randint(-5, 5), self._chance.randint(1, 100) / 100, product_id),
        )
        name, price, stock = cursor.fetchone() or ("", "", "")
        return Change("update", product_id, f"{name}, {price}, {stock} in stock")

    def _delete(self, cursor: Cursor) -> Change | None:
        product_id = self._some_id()
        if product_id is None:
            return None
        cursor.execute("DELETE FROM products WHERE product_id = %s", (product_id,))
        return Change("delete", product_id, "")

    def _change_mind(self, cursor: Cursor) -> None:
        """Do all three, and let the caller take it back."""
        never = f"never-{self.done.rolled_back}"
        self.done.never.add(never)
        cursor.execute(
            "INSERT INTO products VALUES (%s, %s, %s, %s, %s)", _product(never, self._chance)
        )
        cursor.execute(
            "UPDATE products SET stock = -1 WHERE product_id = %s",
            (self._chance.choice(self._ids),),
        )
        cursor.execute(
            "DELETE FROM products WHERE product_id = %s", (self._chance.choice(self._ids),)
        )

    def _some_id(self) -> str | None:
        """Draw a row whose last change has arrived; a few tries are enough."""
        for _ in range(5):
            product_id = self._chance.choice(self._ids)
            if self._settled(product_id):
                return product_id
        return None


def select(cursor: Cursor, product_id: str) -> Product | None:
    """Read one row by its key."""
    cursor.execute(f"{_SELECT} WHERE product_id = %s", (product_id,))
    found: Product | None = cursor.fetchone()
    return found


def _product(product_id: str, chance: random.Random) -> tuple[str, str, str, float, int]:
    thing, kind = chance.choice(_THINGS), chance.choice(_KINDS)
    description = f"a {kind} {thing} {chance.choice(_USES)}"
    price = chance.randint(500, 20_000) / 100
    return product_id, f"{kind} {thing}", description, price, chance.randint(0, 500)
