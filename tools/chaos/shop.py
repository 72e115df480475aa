"""Two tables, writers that do to them all that SQL can, and what a replica of them has to hold.

Whatever a writer is going to roll back carries the word `GHOST`: no replica may ever see it.
"""

from __future__ import annotations

import json
import random
import threading
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Self, TypeAlias

import psycopg2
import psycopg2.errors

__all__ = ["GHOST", "SETUP", "TABLES_TOML", "Rows", "Writers", "fill", "read_rows"]

GHOST = "ghost"

Rows: TypeAlias = dict[str, tuple[str, dict[str, Any]]]
"""By row id: the text that is embedded, and the columns."""

SETUP = """
CREATE TABLE products (
    id integer PRIMARY KEY, name text NOT NULL, price numeric(12, 2), stock integer NOT NULL,
    tags text[], since timestamptz, big text
);
ALTER TABLE products ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE TABLE lines (
    bill integer, place integer, note text NOT NULL, amount bigint, big text,
    PRIMARY KEY (bill, place)
);
ALTER TABLE lines ALTER COLUMN big SET STORAGE EXTERNAL
"""

TABLES_TOML = """
[[tables]]
name = "products"
text = "{name}: {tags}"

[[tables]]
name = "lines"
text = "{note}"
"""

_WORDS = (
    "lamp desk chair sofa shelf red green small large oak steel glass soft garden office".split()
)
_IDS = 400
_MOVED = 1_000
_BASE = 5_000
_MANY = 100_000
_MANY_ROWS = 600
_LOCK_S = 0.2


def fill(dsn: str, rows: int) -> None:
    """Have that many rows below all that writers touch, so that a snapshot takes its time."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO products SELECT n, 'base ' || n, n, 0, NULL, now(), "
            "CASE WHEN n %% 20 = 0 THEN repeat(md5(n::text), 100) END "
            "FROM generate_series(%s, %s) AS n ON CONFLICT DO NOTHING",
            (_BASE, _BASE + rows - 1),
        )
        cursor.execute(
            "INSERT INTO lines SELECT n / 7, n %% 7, 'line ' || n, n, NULL "
            "FROM generate_series(%s, %s) AS n ON CONFLICT DO NOTHING",
            (_BASE * 7, _BASE * 7 + rows // 4),
        )


def read_rows(dsn: str) -> dict[str, Rows]:
    """Read both tables at one moment, as a replica has to have them."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT id, name, price::text, stock, tags, since::text, big FROM products")
        names = ("id", "name", "price", "stock", "tags", "since", "big")
        products = {
            str(row[0]): (
                f"{row[1]}: {', '.join(row[4] or ())}",
                dict(zip(names, row, strict=True)),
            )
            for row in cursor
        }
        cursor.execute("SELECT bill, place, note, amount, big FROM lines")
        of_lines = ("bill", "place", "note", "amount", "big")
        lines = {
            json.dumps([str(row[0]), str(row[1])], separators=(",", ":")): (
                row[2],
                dict(zip(of_lines, row, strict=True)),
            )
            for row in cursor
        }
    return {"products": products, "lines": lines}


class Writers:
    """Threads that write at random until they are stopped, whatever happens to the database.

    Args:
        dsn: Where.
        seed: Draws what they write.
        threads: How many.
        pause_s: Between two transactions of a thread.
        truncates: Whether they empty tables now and then.
    """

    def __init__(
        self,
        dsn: str,
        *,
        seed: int,
        threads: int = 2,
        pause_s: float = 0.004,
        truncates: bool = True,
    ) -> None:
        self._dsn = dsn
        self._pause_s = pause_s
        self._truncates = truncates
        self._stopped = threading.Event()
        self.committed = 0
        self.rolled_back = 0
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed}/{number}"),))
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self.failure is not None and error is None:
            raise self.failure

    def _work(self, chance: random.Random) -> None:
        connection = None
        try:
            while not self._stopped.is_set():
                try:
                    if connection is None or connection.closed:
                        connection = psycopg2.connect(self._dsn)
                    self._transaction(connection, chance)
                except psycopg2.errors.IntegrityError:
                    if connection is not None:
                        connection.rollback()
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    # The database died, or two of us waited for each other.
                    if connection is not None:
                        with suppress(psycopg2.Error):
                            connection.close()
                    connection = None
                self._stopped.wait(self._pause_s * chance.uniform(0, 2))
        except BaseException as error:  # noqa: BLE001 - the top of a thread: raised at the end
            self.failure = error
        finally:
            if connection is not None:
                connection.close()

    def _transaction(self, connection: Any, chance: random.Random) -> None:
        is_doomed = chance.random() < 0.2
        with connection.cursor() as cursor:
            for _ in range(chance.randint(1, 6)):
                if chance.random() < 0.15:
                    is_undone = chance.random() < 0.5
                    cursor.execute("SAVEPOINT inner_part")
                    self._step(cursor, chance, is_ghost=is_doomed or is_undone)
                    undo = "ROLLBACK TO" if is_undone else "RELEASE"
                    cursor.execute(f"{undo} SAVEPOINT inner_part")
                else:
                    self._step(cursor, chance, is_ghost=is_doomed)
        if is_doomed:
            connection.rollback()
            self.rolled_back += 1
        else:
            connection.commit()
            self.committed += 1

    def _step(self, cursor: Any, chance: random.Random, *, is_ghost: bool) -> None:
        said = GHOST if is_ghost else "item"
        name = f"{said} {' '.join(chance.choices(_WORDS, k=3))}"
        number = chance.randint(1, _IDS)
        big = "".join(chance.choices("abcdefgh", k=20)) * 200 if chance.random() < 0.3 else None
        match chance.randint(0, 15):
            case 0 | 1 | 2:
                tags = chance.sample(_WORDS, 2) if chance.random() < 0.5 else None
                cursor.execute(
                    "INSERT INTO products VALUES (%s, %s, %s, 1, %s, now(), %s) "
                    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, tags = excluded.tags, "
                    "big = excluded.big",
                    (number, name, chance.randint(0, 10**9) / 100, tags, big),
                )
            case 3 | 4 | 5 | 6:
                # Leaves `big` alone, so that the stream does not say what it holds.
                cursor.execute(
                    "UPDATE products SET stock = stock + 1, name = %s WHERE id = %s",
                    (name, number),
                )
            case 7:
                cursor.execute("DELETE FROM products WHERE id = %s", (number,))
            case 8:
                there, back = (_MOVED, 0) if chance.random() < 0.6 else (0, _MOVED)
                cursor.execute(
                    "UPDATE products SET id = %s, name = %s WHERE id = %s",
                    (number + there, name, number + back),
                )
            case 9 | 10:
                cursor.execute(
                    "INSERT INTO lines VALUES (%s, %s, %s, %s, %s) ON CONFLICT (bill, place) "
                    "DO UPDATE SET note = excluded.note, amount = excluded.amount",
                    (number // 7, number % 7, name, number, big),
                )
            case 11:
                cursor.execute(
                    "UPDATE lines SET amount = amount * -1, note = %s WHERE bill = %s",
                    (name, number // 7),
                )
            case 12:
                cursor.execute(
                    "UPDATE lines SET bill = %s, note = %s WHERE bill = %s AND place = %s",
                    (number // 7 + _MOVED, name, number // 7, number % 7),
                )
            case 13:
                cursor.execute("DELETE FROM lines WHERE bill = %s", (number // 7 + _MOVED,))
            case 14:
                if chance.random() < 0.05:
                    self._many(cursor, name, chance)
            case 15:
                if self._truncates and chance.random() < 0.02:
                    self._truncate(cursor, chance)

    def _many(self, cursor: Any, name: str, chance: random.Random) -> None:
        """Change so much that the server streams it before it is committed."""
        if chance.random() < 0.5:
            cursor.execute("DELETE FROM products WHERE id >= %s", (_MANY,))
        cursor.execute(
            "INSERT INTO products SELECT n, %s || ' ' || n, n, 0, NULL, now(), NULL "
            "FROM generate_series(%s, %s) AS n ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            (name, _MANY, _MANY + chance.randint(1, _MANY_ROWS)),
        )

    def _truncate(self, cursor: Any, chance: random.Random) -> None:
        # A snapshot holds its tables: who waits for one would make all others wait.
        cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_S}s'")
        cursor.execute(f"TRUNCATE {chance.choice(('products', 'lines', 'products, lines'))}")
