"""`prism-wrapper demo`: a database, a wrapper, and rows that change, in one folder that goes away.

The last lines tell what a driver needs. Nothing outside of the folder is touched; as root the
database runs as another user of the machine, since PostgreSQL refuses root.
"""

from __future__ import annotations

import contextlib
import random
import signal
import tempfile
import threading
from pathlib import Path
from types import FrameType

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - its name in psycopg2
from rich.console import Console

from prism.wrapper._config import (
    ChorusSettings,
    DatabaseSettings,
    LogSettings,
    Secret,
    TableSettings,
    WrapperConfig,
    WriteSettings,
)
from prism.wrapper._daemon import Daemon
from prism.wrapper._local_postgres import LocalPostgres, find_postgres

__all__ = ["run_demo"]

_VERSION = 18
_TENANT = "demo"
_SECONDS_BETWEEN = 0.5
_THINGS = ("lamp", "kettle", "rucksack", "tent", "keyboard", "jacket", "drill", "novel", "bicycle")
_KINDS = ("light", "sturdy", "foldable", "silent", "waterproof", "wooden", "cordless", "heated")
_USES = ("for travel", "for the office", "for small kitchens", "for children", "for long winters")

_SCHEMA = """
CREATE TABLE products (
    product_id text PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL,
    price numeric(10, 2) NOT NULL,
    stock integer NOT NULL
)
"""


def run_demo(*, port: int, rows: int, seconds: float) -> int:
    """Run until a signal, or for `seconds` if above 0."""
    console = Console(highlight=False, stderr=True)
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    binaries = find_postgres(_VERSION)
    console.print("starting PostgreSQL")
    with (
        tempfile.TemporaryDirectory(prefix="prism-demo-") as folder,
        # Commits flush at once: what is not flushed is not sent, up to 200 ms later.
        LocalPostgres(binaries, settings={"synchronous_commit": "on"}) as database,
    ):
        _fill(database.dsn(), rows)
        return _serve(console, database, Path(folder), port=port, until=(stopped, seconds))


def _serve(
    console: Console,
    database: LocalPostgres,
    folder: Path,
    *,
    port: int,
    until: tuple[threading.Event, float],
) -> int:
    stopped, seconds = until
    config = WrapperConfig(
        database=DatabaseSettings(flavor="postgresql", dsn=Secret(database.dsn())),
        chorus=ChorusSettings(tenant_id=_TENANT, listen_port=port),
        tables=(
            TableSettings(
                name="products", text="{name}: {description}", numeric={"price": (0, 200)}
            ),
        ),
        log=LogSettings(path=folder / "demo.changes"),
        write=WriteSettings(tables=("products",)),
    )
    daemon = Daemon(config)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            daemon.run()
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            failure.append(error)
            stopped.set()

    thread = threading.Thread(target=run, name="prism-demo")
    thread.start()
    try:
        while daemon.port is None and not stopped.is_set():
            stopped.wait(0.05)
        if not failure:
            _tell(console, daemon.port, database.dsn())
            _change(database.dsn(), stopped, seconds=seconds)
    finally:
        daemon.stop()
        thread.join()
    if failure:
        raise failure[0]
    return 0


def _tell(console: Console, port: int | None, dsn: str) -> None:
    console.print(
        f"""
A PostgreSQL with a table "products" runs, and a wrapper follows it; a row changes twice a second.

connect from Python:

    from prism.ffi import DriverConfig, PrismDriver

    async with PrismDriver(
        DriverConfig(wrapper_host="127.0.0.1", wrapper_port={port}, tenant_id="{_TENANT}")
    ) as driver:
        for match in await driver.query(text="something for a cold night", top_k=3):
            print(match.row_id, match.score, match.text_repr)

change rows:  psql "{dsn}"
end:          Ctrl-C
""",
        soft_wrap=True,
        markup=False,
    )


def _fill(dsn: str, rows: int) -> None:
    chance = random.Random(0)  # noqa: S311 - the same shop each time
    with (
        contextlib.closing(_connected(dsn)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(_SCHEMA)
        cursor.executemany(
            "INSERT INTO products VALUES (%s, %s, %s, %s, %s)",
            [_product(number, chance) for number in range(1, rows + 1)],
        )


def _product(number: int, chance: random.Random) -> tuple[str, str, str, float, int]:
    thing, kind = chance.choice(_THINGS), chance.choice(_KINDS)
    description = f"a {kind} {thing} {chance.choice(_USES)}"
    price = round(chance.uniform(5, 200), 2)
    return f"product-{number}", f"{kind} {thing}", description, price, chance.randint(0, 500)


def _change(dsn: str, stopped: threading.Event, *, seconds: float) -> None:
    chance = random.Random(1)  # noqa: S311 - only for show
    left = seconds
    connection = _connected(dsn)
    try:
        while not stopped.wait(_SECONDS_BETWEEN):
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE products SET stock = greatest(0, stock + %s), price = price + %s "
                    "WHERE product_id = (SELECT product_id FROM products "
                    "ORDER BY random() LIMIT 1)",
                    (chance.randint(-5, 5), round(chance.uniform(0, 1), 2)),
                )
            left -= _SECONDS_BETWEEN
            if seconds > 0 >= left:
                return
    finally:
        connection.close()


def _connected(dsn: str) -> Connection:
    return psycopg2.connect(dsn)
