"""Rows a second, of several runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

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
    with Call(function, *arguments, **named) as call:
        return call.result()


class Call(Generic[_Got]):
    """A call of a function in a fresh process, which may report once that it is ready.

    Args:
        function: What to call. Its module must be one that can be imported.
        arguments: Given to it.
        named: Given to it. With `ready=None`, the function gets there what it is to call when it
            is ready and that returns when it is to go on.
    """

    def __init__(self, function: Callable[..., _Got], *arguments: object, **named: object) -> None:
        context = get_context("spawn")
        self._what = function.__qualname__
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_answer, args=(theirs, function, arguments, named), daemon=True
        )
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Wait until the function says that it is."""
        self._receive()

    def go(self) -> None:
        """Let it go on."""
        self._pipe.send(None)

    def result(self) -> _Got:
        """Wait for what the function returns.

        Raises:
            RuntimeError: The process died; its traceback is on standard error.
        """
        got: _Got = self._receive()
        return got

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        if kind is not None:
            self._process.terminate()
        self._process.join()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self._what} died") from None


def _answer(
    pipe: Connection,
    function: Callable[..., object],
    arguments: tuple[object, ...],
    named: dict[str, object],
) -> None:
    if "ready" in named:

        def ready() -> None:
            pipe.send(None)
            pipe.recv()

        named = named | {"ready": ready}
    pipe.send(function(*arguments, **named))
