"""What only a fresh process shows: how soon it answers, anew or from disk, and a row's weight."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import machine
from contestant import Contestant, optional
from prismresonance import PrismProjector, WaveIndex

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

FIRST_ROWS = 1_000
"""Rows that the first answer is sought among."""

_PROGRAM = """
import json, time
start, cpu_start = time.perf_counter(), time.process_time()
import numpy as np
{imports}
imported = time.perf_counter()
rows = np.random.default_rng(0).standard_normal(({rows}, {width})).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
{answer}
stop, cpu_stop = time.perf_counter(), time.process_time()
print(json.dumps([1e3 * (imported - start), 1e3 * (stop - imported), 1e3 * (cpu_stop - cpu_start)]))
"""
_STARTS: dict[str, tuple[str, str, str]] = {
    "WaveIndex": (
        "prismresonance",
        "from prismresonance import PrismProjector, WaveIndex",
        """
index = WaveIndex(PrismProjector(tenant_id="benchmark"))
index.add_many(rows)
index.query(rows[7])""",
    ),
    "numpy": ("numpy", "", "np.argpartition(-(rows @ rows[7]), 10)[:10]"),
    "faiss flat": (
        "faiss",
        "import faiss",
        """
index = faiss.IndexFlatIP({width})
index.add(rows)
index.search(rows[7:8], 10)""",
    ),
    "hnswlib": (
        "hnswlib",
        "import hnswlib",
        """
index = hnswlib.Index(space="ip", dim={width})
index.init_index(max_elements={rows})
index.add_items(rows)
index.knn_query(rows[7], 10)""",
    ),
    "usearch f16": (
        "usearch.index",
        "from usearch.index import Index",
        """
index = Index(ndim={width}, metric="ip", dtype="f16")
index.add(np.arange({rows}), rows)
index.search(rows[7], 10)""",
    ),
}


@dataclass(frozen=True)
class FirstAnswer:
    """From the first line of a program to its first answer; medians of the runs, milliseconds.

    Attributes:
        contestant: Who.
        import_ms: The imports, numpy included.
        answer_ms: Storing 1,000 rows and answering one query.
        cpu_ms: The process's CPU time for both.
        least_ms: The least time of a run for both.
    """

    contestant: str
    import_ms: float
    answer_ms: float
    cpu_ms: float
    least_ms: float


@dataclass(frozen=True)
class Footprint:
    """Resident memory of a process before and after the rows.

    Attributes:
        contestant: Who.
        rows: How many rows.
        width: Their width.
        bytes_a_row: The growth over the second half of the rows.
        fixed_bytes: What the first half took beyond that: code that was loaded or compiled.
    """

    contestant: str
    rows: int
    width: int
    bytes_a_row: float
    fixed_bytes: float


@dataclass(frozen=True)
class Opened:
    """An index on disk, in the file cache, opened by fresh processes; medians, milliseconds.

    Attributes:
        rows: How many rows.
        width: Their width.
        save_ms: Saving them the first time.
        again_ms: Saving again after 1,000 further rows.
        disk_bytes: What they take on disk, a row.
        open_ms: From the call of `open` to the first answer, imports not counted.
        load_ms: numpy's `load` of the float32 rows alone, and one product with all of them.
    """

    rows: int
    width: int
    save_ms: float
    again_ms: float
    disk_bytes: float
    open_ms: float
    load_ms: float


def first_answers(
    *, width: int, runs: int, track: Callable[[Iterable[int]], Iterable[int]]
) -> list[FirstAnswer]:
    """Start a process for each contestant in turn, `runs` times after a first one for the disk."""
    installed = {name: rest for name, (module, *rest) in _STARTS.items() if optional(module)}
    samples: dict[str, list[list[float]]] = {name: [] for name in installed}
    # Where this is set, every process would compile all modules anew.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for run in track(range(runs + 1)):
        for name, (imports, answer) in installed.items():
            program = _PROGRAM.format(
                imports=imports,
                answer=answer.format(rows=FIRST_ROWS, width=width),
                rows=FIRST_ROWS,
                width=width,
            )
            done = subprocess.run(
                [sys.executable, "-c", program],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            if run:
                samples[name].append(json.loads(done.stdout))
    return [_first_answer(name, own) for name, own in samples.items()]


def _first_answer(name: str, runs: list[list[float]]) -> FirstAnswer:
    import_ms, answer_ms, cpu_ms = np.median(runs, axis=0).tolist()
    return FirstAnswer(name, import_ms, answer_ms, cpu_ms, min(run[0] + run[1] for run in runs))


_OPENING = """
import sys, time
import numpy as np
from prismresonance import WaveIndex
folder, rows, query = sys.argv[1:]
vector = np.load(query)
start = time.perf_counter()
match = WaveIndex.open(folder).query(vector, 1)[0]
opened = time.perf_counter()
assert match.id == 7, match
best = int(np.argmax(np.load(rows) @ vector))
loaded = time.perf_counter()
assert best == 7, best
print(1e3 * (opened - start), 1e3 * (loaded - opened))
"""


def opened(
    *, rows: int, width: int, runs: int, track: Callable[[Iterable[int]], Iterable[int]]
) -> Opened:
    """Save an index of random rows, and open it in fresh processes."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((rows, width), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "rows.npy", matrix)
        np.save(place / "query.npy", matrix[7])
        index = WaveIndex(PrismProjector(tenant_id="benchmark"))
        for start in range(0, rows, 10_000):
            index.add_many(matrix[start : start + 10_000])
        save_ms = _timed_ms(lambda: index.save(place / "index"))
        disk = sum(path.stat().st_size for path in (place / "index").rglob("*") if path.is_file())
        samples = []
        for run in track(range(runs + 1)):
            done = subprocess.run(
                [sys.executable, "-c", _OPENING, place / "index", place / "rows.npy",
                 place / "query.npy"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            if run:
                samples.append([float(figure) for figure in done.stdout.split()])
        index.add_many(matrix[:1_000])
        again_ms = _timed_ms(lambda: index.save(place / "index"))
    open_ms, load_ms = np.median(samples, axis=0).tolist()
    return Opened(rows, width, save_ms, again_ms, disk / rows, open_ms, load_ms)


def _timed_ms(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1e3 * (time.perf_counter() - start)


def footprints(
    kinds: Sequence[tuple[type[Contestant], int]],
    *,
    rows: int,
    threads: int,
    track: Callable[[Iterable[Any]], Iterable[Any]],
) -> list[Footprint]:
    """Fill a contestant of each kind and width in its own process; nothing without psutil."""
    if machine.resident_bytes() is None:
        return []
    found = []
    context = get_context("spawn")
    for kind, width in track(kinds):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_grow, args=(there, kind, rows, width, threads))
        process.start()
        there.close()
        half, whole = here.recv()
        bytes_a_row = 2 * (whole - half) / rows
        found.append(Footprint(kind.name, rows, width, bytes_a_row, 2 * half - whole))
        process.join()
    return found


def _grow(pipe: Connection, kind: type[Contestant], rows: int, width: int, threads: int) -> None:
    """Tell how many bytes half of the rows took, and how many all of them."""
    matrix = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    contestant = kind(rows=rows, width=width, threads=threads)
    query = contestant.prepared(matrix[:1])[0]
    before = _resident()
    taken = []
    for half in np.array_split(matrix, 2):
        for start in range(0, len(half), 1_000):
            contestant.add(half[start : start + 1_000])
        contestant.ready()
        contestant.search(query, 10, None)
        taken.append(_resident() - before)
    pipe.send(taken)


def _resident() -> int:
    """Give the resident memory once what is free has gone back to the system."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)
    return machine.resident_bytes() or 0
