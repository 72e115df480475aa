"""Compiles the kernels in the background while numpy answers.

States: numpy (nothing wanted yet) -> compiling -> numba or failed; or disabled from the start. Once
numba, failed or disabled, nothing changes any more.

Compilation runs in steps of up to about two seconds. Between two steps it is safe to fork and to
end the interpreter, so both wait for the current step: the fork at the gate, and the end because
LLVM must not run while the process takes itself down.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator

from prismresonance._fork_gate import FORK_GATE
from prismresonance._kernels import plain
from prismresonance._kernels.interface import Kernels

__all__ = ["COMPILER", "Compiler", "Kernels", "Steps"]

_log = logging.getLogger("prismresonance")

Steps = Callable[[], Iterator[Kernels | None]]
_EXIT_WAIT_S = 30.0


def compile_with_numba() -> Iterator[Kernels | None]:
    """Import numba and compile; yields `None` after each step, the kernels after the last."""
    from prismresonance._kernels.cache_folder import cache_folder
    from prismresonance._kernels.compiled import CompiledKernels

    yield None
    kernels = CompiledKernels(cache_folder())
    for _ in kernels.compile():
        yield None
    yield kernels


class Compiler:
    """Hands out the best kernels there are at the moment.

    Attributes:
        kernels: Kernels to use now; read anew for each query.
        state: `"numpy"`, `"compiling"`, `"numba"`, `"disabled"` or `"failed: <reason>"`.

    Args:
        steps: Makes the compiled kernels, a step at a time.
        disabled: Whether to stay with numpy for good.
    """

    def __init__(self, steps: Steps = compile_with_numba, *, disabled: bool = False) -> None:
        self.kernels: Kernels = plain
        self.state = "disabled" if disabled else "numpy"
        self._steps = steps
        self._start_lock = threading.Lock()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def want(self) -> None:
        """Start compiling, unless that was done; returns at once, costs one comparison."""
        if self.state != "numpy":
            return
        with self._start_lock:
            if self.state != "numpy" or self._stopping:
                return
            self.state = "compiling"
            self._thread = threading.Thread(target=self._run, name="prism-kernels", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is ending
                self.state = f"failed: {error}"

    def stop(self) -> None:
        """Wait for the current step and take no further one."""
        self._stopping = True
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(_EXIT_WAIT_S)

    def after_fork_in_child(self) -> None:
        """Start afresh: the thread did not come along, so the next need starts another."""
        self._start_lock = threading.Lock()
        self._thread = None
        if self.state == "compiling":
            self.state = "numpy"

    def _run(self) -> None:
        steps = self._steps()
        try:
            while not self._stopping:
                FORK_GATE.enter()
                try:
                    kernels = next(steps)
                finally:
                    FORK_GATE.leave()
                if kernels is not None:
                    self.kernels = kernels
                    self.state = "numba"
                    _log.debug("kernels compiled")
                    return
        except Exception as error:  # noqa: BLE001  the thread's top: numpy goes on answering
            self.state = f"failed: {type(error).__name__}: {error}"
            _log.warning("kernels not compiled, numpy goes on: %s: %s", type(error).__name__, error)


COMPILER = Compiler(disabled=os.environ.get("PRISM_NO_JIT", "0") not in ("", "0"))
"""The process's own: compiled code is the same for all indexes."""

atexit.register(COMPILER.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COMPILER.after_fork_in_child)
