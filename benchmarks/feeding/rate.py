"""Rows a second, of several runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        rows: How many rows.
        wall_s: Seconds on the clock.
        cpu_s: CPU seconds of the client alone, not of the database; `None` where not measured.
    """

    rows: int
    wall_s: float
    cpu_s: float | None = None

    @property
    def rows_s(self) -> float:
        """Rows a second."""
        return self.rows / self.wall_s


@dataclass(frozen=True)
class Rate:
    """What the runs of one way come to.

    Attributes:
        part: Which comparison it belongs to.
        who: Which way.
        rows: Rows in each run.
        runs: Runs.
        best_rows_s: Of the quickest run.
        median_rows_s: The median.
        cpu_us: Client CPU a row of the run that took least, in microseconds.
    """

    part: str
    who: str
    rows: int
    runs: int
    best_rows_s: float
    median_rows_s: float
    cpu_us: float | None

    @classmethod
    def of(cls, part: str, who: str, runs: Sequence[Run]) -> Rate:
        """Sum up runs."""
        cpus = [1e6 * run.cpu_s / run.rows for run in runs if run.cpu_s is not None]
        return cls(
            part=part,
            who=who,
            rows=runs[0].rows,
            runs=len(runs),
            best_rows_s=max(run.rows_s for run in runs),
            median_rows_s=median(run.rows_s for run in runs),
            cpu_us=min(cpus, default=None),
        )


@dataclass(frozen=True)
class Comparison:
    """Ours beside a peer of the same run: above 1, ours is quicker.

    Attributes:
        part: Which comparison.
        ours: Which way of ours.
        peer: Which peer.
        ratio: Best to best.
        paired: Median of the ratios of runs that came one after the other.
        goal: What the ratio should be at least; `None` where it is told for information.
    """

    part: str
    ours: str
    peer: str
    ratio: float
    paired: float
    goal: float | None

    @classmethod
    def of(
        cls, part: str, ours: tuple[str, Sequence[Run]], peer: tuple[str, Sequence[Run]],
        goal: float | None,
    ) -> Comparison:  # fmt: skip
        """Compare runs that were made in turns."""
        own, other = ours[1], peer[1]
        pairs = zip(own, other, strict=False)
        return cls(
            part=part,
            ours=ours[0],
            peer=peer[0],
            ratio=max(run.rows_s for run in own) / max(run.rows_s for run in other),
            paired=median(one.rows_s / two.rows_s for one, two in pairs),
            goal=goal,
        )


def timed_program(command: Sequence[str], rows: int) -> Run:
    """Run a program to its end, its output to nowhere.

    Raises:
        RuntimeError: It failed; the message has what it said.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        said = b"" if process.stderr is None else process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {said.decode(errors='replace').strip()}")
    return Run(rows, wall_s, usage.ru_utime + usage.ru_stime)


def in_process(
    function: Callable[_Given, _Got], *arguments: _Given.args, **named: _Given.kwargs
) -> _Got:
    """Call a function in a fresh process, where nothing else runs beside it.

    Raises:
        RuntimeError: The process died; its traceback is on standard error.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, arguments, named))
    process.start()
    theirs.close()
    try:
        got: _Got = ours.recv()
    except EOFError:
        raise RuntimeError(f"the process of {function.__qualname__} died") from None
    finally:
        process.join()
    return got


def _answer(
    pipe: Connection,
    function: Callable[..., object],
    arguments: tuple[object, ...],
    named: dict[str, object],
) -> None:
    pipe.send(function(*arguments, **named))
