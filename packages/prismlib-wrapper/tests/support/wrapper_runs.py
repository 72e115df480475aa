"""A wrapper process, a replica that follows it, and writers that make it work."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psycopg2

from chorus_fabric import (
    Began,
    Cleared,
    ClientConfig,
    Deleted,
    FeedPosition,
    Reached,
    Subscriber,
    Upserted,
)

TENANT = "tests"
DEADLINE_S = 60.0


def eventually(what: Callable[[], Any], *, seconds: float = DEADLINE_S, why: str = "") -> Any:
    """Wait until something is true; give what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds} s: {why or what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Wrapper:
    """`prism-wrapper` as a process of its own, which can be started again."""

    def __init__(
        self,
        folder: Path,
        dsn: str,
        *,
        slot: str,
        more: str = "",
        flavor: str = "postgresql",
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "wrapper.toml"
        self.log_path = folder / "wrapper.changes"
        self.output = folder / "output"
        self._dsn, self._slot, self._flavor = dsn, slot, flavor
        self.configure(more)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, more: str = "", *, database: str = "", chorus: str = "") -> None:
        self.config.write_text(
            f"""
[database]
flavor = "{self._flavor}"
dsn = "{self._dsn}"
slot = "{self._slot}"
publication = "{self._slot}"
{database}
[chorus]
tenant_id = "{TENANT}"
listen_port = {self.port}
heartbeat_s = 0.1
{chorus}
[log]
path = "{self.log_path}"
{more}
"""
        )

    def start(self) -> Wrapper:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prism.wrapper", "--config", str(self.config)],
                stdout=output,
                stderr=output,
            )
        return self

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "prism.wrapper", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    @property
    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def status(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            told: dict[str, Any] = json.loads(
                self.log_path.with_name(self.log_path.name + ".status").read_text()
            )
            if self.process is not None and told["pid"] == self.process.pid:
                return told
        return {}

    def snapshot_head(self) -> int:
        """How far the snapshot is that is being read; 0 if none is."""
        if not self.log_path.exists():
            return 0
        with contextlib.closing(
            sqlite3.connect(f"file:{self.log_path}?mode=ro", uri=True)
        ) as connection:
            try:
                found = connection.execute(
                    "SELECT head FROM epochs JOIN meta ON epoch = building"
                ).fetchone()
            except sqlite3.OperationalError:
                return 0
        return int(found[0]) if found else 0

    def wait(self, what: Callable[[dict[str, Any]], Any], why: str = "") -> dict[str, Any]:
        """Wait for a status."""

        def there() -> dict[str, Any] | None:
            assert self.process is not None
            assert self.process.poll() is None, self.said
            told = self.status()
            return told if told and what(told) else None

        try:
            found: dict[str, Any] = eventually(there, why=why)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.said}") from None
        return found

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Replica:
    """What a driver would hold, followed in a thread."""

    def __init__(self, port: int) -> None:
        self.rows: dict[tuple[str, str], tuple[dict[str, Any], str, bool]] = {}
        self._next: dict[tuple[str, str], tuple[dict[str, Any], str, bool]] | None = None
        self.position = FeedPosition()
        self.is_live = False
        self.source_age_s: float | None = None
        self.resets = 0
        self.fewest_after_first = None
        self.error: BaseException | None = None
        self._subscriber = Subscriber(
            ClientConfig(host="127.0.0.1", port=port, tenant_id=TENANT, node_id="replica"),
        )
        self._thread = threading.Thread(target=self._follow, name="replica")
        self._thread.start()

    def _follow(self) -> None:
        try:
            for event in self._subscriber:
                self._apply(event)
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.error = error

    def _apply(self, event: Any) -> None:
        building = self.rows if self._next is None else self._next
        match event:
            case Began():
                self._next = {}
                self.resets += 1
            case Upserted(schema=schema, frame=frame):
                has_vector = frame.vectors.any(axis=1).tolist() if frame.vectors.size else []
                for place, row_id in enumerate(frame.ids):
                    building[schema.name, row_id] = (
                        json.loads(frame.metadata[place]),
                        frame.texts[place],
                        bool(has_vector and has_vector[place]),
                    )
            case Deleted(schema=schema, frame=frame):
                for row_id in frame.ids:
                    building.pop((schema.name, row_id), None)
            case Cleared(schema=schema):
                for key in [key for key in building if key[0] == schema.name]:
                    del building[key]
            case Reached(position=position, is_live=is_live, source_age_s=age):
                # The old replica stays readable until the new one is complete.
                if self._next is not None and is_live:
                    self.rows, self._next = self._next, None
                # That of the rows that can be read, not of those that are being built.
                if self._next is None:
                    self.position = position
                self.is_live, self.source_age_s = is_live, age

    def columns(self, table: str) -> dict[str, dict[str, Any]]:
        # A copy in one step: the other thread goes on.
        rows = self.rows.copy()
        return {row_id: row[0] for (name, row_id), row in rows.items() if name == table}

    def close(self) -> None:
        self._subscriber.close()
        self._thread.join(DEADLINE_S)
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


PRODUCTS = """
CREATE TABLE products (
    id integer PRIMARY KEY, name text NOT NULL, price numeric(12, 2), stock integer, big text
);
ALTER TABLE products ALTER COLUMN big SET STORAGE EXTERNAL
"""


def products(dsn: str) -> dict[str, dict[str, Any]]:
    """The table as a replica should have it."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, name, price::text, stock, big FROM products")
        return {
            str(row[0]): dict(zip(("id", "name", "price", "stock", "big"), row, strict=True))
            for row in cursor
        }


class Writers:
    """Threads that insert, update, delete, change keys and roll back, at random."""

    def __init__(self, dsn: str, *, seed: int, threads: int = 2, truncating: bool = True) -> None:
        self._dsn = dsn
        self._stopped = threading.Event()
        self._truncating = truncating
        self.transactions = 0
        self._threads = [
            threading.Thread(target=self._write, args=(random.Random(seed * 100 + n),))
            for n in range(threads)
        ]

    def _write(self, chance: random.Random) -> None:
        connection = None
        while not self._stopped.is_set():
            try:
                if connection is None or connection.closed:
                    connection = psycopg2.connect(self._dsn)
                with connection.cursor() as cursor:
                    for _ in range(chance.randint(1, 6)):
                        self._step(cursor, chance)
                if chance.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()
                self.transactions += 1
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                # The database was restarted, or two of us waited for each other.
                with contextlib.suppress(psycopg2.Error, AttributeError):
                    connection.close()
                connection = None
            except psycopg2.IntegrityError:
                connection.rollback()
            self._stopped.wait(0.002)
        if connection is not None:
            connection.close()

    def _step(self, cursor: Any, chance: random.Random) -> None:
        number = chance.randint(1, 400)
        match chance.randint(0, 9):
            case 0 | 1 | 2:
                big = "b" * 3000 + str(chance.random()) if chance.random() < 0.3 else None
                cursor.execute(
                    "INSERT INTO products VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE "
                    "SET name = excluded.name, big = excluded.big",
                    (number, f"name {chance.randint(0, 50)}", chance.random(), 1, big),
                )
            case 3 | 4 | 5 | 6:
                # Leaves `big` as it is: the stream does not say what it holds.
                cursor.execute(
                    "UPDATE products SET stock = stock + 1, price = %s WHERE id = %s",
                    (chance.randint(0, 1000), number),
                )
            case 7:
                cursor.execute("DELETE FROM products WHERE id = %s", (number,))
            case 8:
                cursor.execute("UPDATE products SET id = %s WHERE id = %s", (number + 1000, number))
            case 9:
                if self._truncating and chance.random() < 0.002:
                    cursor.execute("TRUNCATE products")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)


def assert_equal(replica: Replica, dsn: str) -> None:
    """Wait until the replica is the table, row for row; the writers have ended."""
    expected = products(dsn)

    def equal() -> bool:
        assert replica.error is None
        return replica.columns("products") == expected

    try:
        eventually(equal)
    except AssertionError:
        found = replica.columns("products")
        wrong = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))[
            :5
        ]
        details = [(key, found.get(key), expected.get(key)) for key in wrong]
        raise AssertionError(
            f"{len(found)} rows, not {len(expected)}: {str(details)[:2000]}"
        ) from None


@contextlib.contextmanager
def file_size_limit(pid: int, limit: int) -> Iterator[None]:
    """Let a process write no file beyond a size: each such write fails as on a full disk."""
    import resource

    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
