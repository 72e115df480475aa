"""An open-loop writer in a process of its own: one row a transaction, at a fixed rate.

It does not wait for anyone: a row that is late because the one before took long is written at once,
and both its planned and its real time are kept. Times are of the system's monotonic clock, which
all processes of a machine share.
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import psycopg2

from feeding.shop import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

_INSERT = f"INSERT INTO {TABLE} VALUES ($1, $2, $3, $4, $5)"
_UPDATE = f"UPDATE {TABLE} SET stock = $2 WHERE id = $1"


@dataclass(frozen=True)
class Written:
    """What a writer did: one element a transaction, in order.

    Attributes:
        ids: int64: the row.
        versions: int64: what `stock` became.
        planned_ns: int64: when the transaction should have begun.
        committed_ns: int64: when COMMIT returned.
    """

    ids: npt.NDArray[np.int64]
    versions: npt.NDArray[np.int64]
    planned_ns: npt.NDArray[np.int64]
    committed_ns: npt.NDArray[np.int64]


class Writer:
    """Writes from `start` for some seconds; `finish` gives what it wrote.

    Args:
        dsn: Where.
        rate: Transactions a second.
        seconds: How long.
        seed: Draws what is written.
        texts: New rows get these descriptions, in order, from id `first` on.
        among: Without `texts`: rows 1 to `among` are updated, drawn evenly.
        first: The first new id.
        version: What `stock` of the first row becomes; it counts up from there.
    """

    def __init__(
        self,
        dsn: str,
        *,
        rate: float,
        seconds: float,
        seed: int,
        texts: Sequence[str] = (),
        among: int = 0,
        first: int = 1,
        version: int = 1_000,
    ) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_write,
            args=(theirs, dsn, rate, seconds, seed, list(texts), among, first, version),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._pipe.recv()  # connected and prepared

    def start(self) -> None:
        """Begin to write."""
        self._pipe.send(None)

    def finish(self) -> Written:
        """Wait for the end."""
        written: Written = self._pipe.recv()
        self._process.join()
        return written

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()


def _write(
    pipe: Connection,
    dsn: str,
    rate: float,
    seconds: float,
    seed: int,
    texts: Sequence[str],
    among: int,
    first: int,
    version: int,
) -> None:
    count = round(rate * seconds)
    if texts and len(texts) < count:
        raise ValueError(f"{count:,} rows at {rate:g} a second need more than {len(texts):,} texts")
    rng = random.Random(seed)
    ids = [first + place if texts else rng.randint(1, among) for place in range(count)]
    versions = list(range(version, version + count))
    step_ns = 1e9 / rate
    committed = np.zeros(count, np.int64)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        types = "(bigint, text, text, numeric, integer)" if texts else "(bigint, integer)"
        cursor.execute(f"PREPARE w {types} AS {_INSERT if texts else _UPDATE}")
        pipe.send(None)
        pipe.recv()
        begin = time.monotonic_ns()
        planned = begin + (np.arange(count) * step_ns).astype(np.int64)
        for place, due in enumerate(planned.tolist()):
            left = due - time.monotonic_ns()
            if left > 0:
                time.sleep(left / 1e9)
            if texts:
                cursor.execute(
                    "EXECUTE w (%s, %s, %s, %s, %s)",
                    (ids[place], f"Item {ids[place]}", texts[place], 9.99, versions[place]),
                )
            else:
                cursor.execute("EXECUTE w (%s, %s)", (ids[place], versions[place]))
            committed[place] = time.monotonic_ns()
    pipe.send(Written(np.asarray(ids), np.asarray(versions), planned, committed))
