"""A real PostgreSQL server of the benchmark's own, with a table of five columns in it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2

from prism.wrapper._local_postgres import LocalPostgres, find_postgres

TABLE = "item"
COLUMNS = ("id", "name", "description", "price", "stock")
TEMPLATE = "{name}: {description}"
ROWS_A_COMMIT = 1000
PASSWORD = "benchmark"  # noqa: S105 - of a role of a server that lives as long as the benchmark
ROLE = "app"

_DEFINITION = f"""
CREATE TABLE {TABLE} (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL,
    price numeric(10, 2) NOT NULL,
    stock integer NOT NULL
)"""
# Made by the server, so that no client's speed limits it: 155 bytes a row in the log.
_MADE = f"""
INSERT INTO {TABLE}
SELECT i, 'Widget ' || i, 'A widget of kind ' || i %% 977 || ' that holds, turns and carries '
    || md5(i::text) || ' at all times', (i %% 100000) / 100.0, i %% 1000
FROM generate_series(%s, %s) AS made(i)"""
_TOLD = f"INSERT INTO {TABLE} VALUES "

Note = Callable[[int], None]


class Shop:
    """A server that runs, and its table.

    Commits wait until the log is written but not for the disk: what is compared is the way of a row
    from the log to the app, and a disk that others use would decide it.

    Attributes:
        server: The server.
        binaries: Where its programs are: `psql`, `pg_recvlogical`.
    """

    def __init__(self, version: int, settings: dict[str, str] | None = None) -> None:
        self.binaries = find_postgres(version)
        ours = {"autovacuum": "off", "synchronous_commit": "on", "max_wal_size": "8GB"}
        self.server = LocalPostgres(self.binaries, settings=ours | (settings or {}))
        self.dsn = self.server.dsn()
        self.tcp_dsn = self.server.tcp_dsn(user=ROLE, password=PASSWORD)

    def start(self) -> None:
        """Start the server and make the table, empty."""
        self.server.start()
        with self.connected() as cursor:
            cursor.execute(_DEFINITION)
            cursor.execute(f"CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
            cursor.execute("SHOW server_version")
            self.version: str = cursor.fetchone()[0]

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Give a cursor of a connection where each statement is a transaction."""
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor

    def make(
        self,
        rows: int,
        *,
        first: int = 1,
        a_commit: int = ROWS_A_COMMIT,
        note: Note = lambda _: None,
    ) -> int:
        """Insert rows that the server makes; give where the log then ends."""
        with self.connected() as cursor:
            for start in range(first, first + rows, a_commit):
                last = min(start + a_commit, first + rows) - 1
                cursor.execute(_MADE, (start, last))
                note(last - start + 1)
            return _log_end(cursor)

    def tell(self, texts: Iterable[str], *, first: int = 1, note: Note = lambda _: None) -> int:
        """Insert rows with these descriptions, 1,000 a transaction; give where the log ends."""
        rows = zip(texts, range(first, 1 << 62), strict=False)
        with self.connected() as cursor:
            while block := [_told(text, place) for text, place in islice(rows, ROWS_A_COMMIT)]:
                filled = b",".join(cursor.mogrify("(%s,%s,%s,%s,%s)", row) for row in block)
                cursor.execute(_TOLD.encode() + filled)
                note(len(block))
            return _log_end(cursor)

    def empty(self) -> None:
        """Remove all rows, by TRUNCATE."""
        with self.connected() as cursor:
            cursor.execute(f"TRUNCATE {TABLE}")

    def command(self, program: str, *arguments: str) -> list[str]:
        """Give a command line of one of the server's programs, connected to it."""
        return [str(self.binaries / program), "-d", self.dsn, *arguments]

    def walsender(self, deadline_s: float = 30.0) -> int:
        """Give the process that streams the log to the only subscriber of a slot."""
        deadline = time.monotonic() + deadline_s
        with self.connected() as cursor:
            while time.monotonic() < deadline:
                cursor.execute(
                    "SELECT active_pid FROM pg_replication_slots"
                    " WHERE slot_type = 'logical' AND active"
                )
                found = cursor.fetchall()
                if len(found) == 1:
                    pid: int = found[0][0]
                    return pid
                time.sleep(0.05)
        raise TimeoutError(f"{len(found)} slots are read, not 1, after {deadline_s:g} s")

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.server.close()


@contextmanager
def opened(version: int, settings: dict[str, str] | None = None) -> Iterator[Shop]:
    """Give a shop that is open, and close it."""
    shop = Shop(version, settings)
    try:
        shop.start()
        yield shop
    finally:
        shop.close()


def _told(text: str, place: int) -> Sequence[object]:
    rng = random.Random(place)
    return (place, f"Item {place}", text, round(rng.uniform(1, 999), 2), rng.randrange(1000))


def _log_end(cursor: Any) -> int:
    cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return int(cursor.fetchone()[0])


def folder_of(shop: Shop) -> Path:
    """Give the server's folder."""
    return shop.server.folder
