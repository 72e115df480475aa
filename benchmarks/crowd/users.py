"""Users of an app, each a thread that reads, thinks, and reads again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Read = Callable[[int], int]


@dataclass(frozen=True)
class Reads:
    """What all users read, in no order.

    Attributes:
        ids: int64, shape (reads,): the row.
        versions: int64: the version of it that was read.
        begun_ns: int64: when the user asked, on the clock that all processes share.
        ended_ns: int64: when the user had the answer.
    """

    ids: npt.NDArray[np.int64]
    versions: npt.NDArray[np.int64]
    begun_ns: npt.NDArray[np.int64]
    ended_ns: npt.NDArray[np.int64]


def let_read(readers: list[Read], *, rows: int, seconds: float, think_s: float, seed: int) -> Reads:
    """Let users read for some seconds.

    Args:
        readers: One for each user: reads a row and gives its version.
        rows: Rows 1 to this are read, drawn evenly.
        seconds: How long.
        think_s: Mean time from an answer to the same user's next question.
        seed: Draws rows and pauses.

    Raises:
        RuntimeError: A user's read failed.
    """
    records: list[list[tuple[int, int, int, int]]] = [[] for _ in readers]
    failures: list[BaseException] = []
    end = time.monotonic() + seconds

    def use(place: int) -> None:
        rng = random.Random(f"{seed} {place}")
        read, record = readers[place], records[place]
        try:
            time.sleep(rng.uniform(0, think_s))
            while time.monotonic() < end:
                row = rng.randint(1, rows)
                begun = time.monotonic_ns()
                version = read(row)
                record.append((row, version, begun, time.monotonic_ns()))
                time.sleep(rng.expovariate(1 / think_s))
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=use, args=(place,)) for place in range(len(readers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(readers)} users failed") from failures[0]
    table = np.asarray([one for record in records for one in record], np.int64).reshape(-1, 4)
    return Reads(table[:, 0], table[:, 1], table[:, 2], table[:, 3])
