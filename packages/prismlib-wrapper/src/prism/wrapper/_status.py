"""What a running wrapper tells in a file beside its change log, and who reads it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from prism.wrapper.errors import DaemonError

__all__ = ["Report", "StatusFile", "read_status"]

Report: TypeAlias = (
    "Mapping[str, str | int | float | bool | Report | Sequence[Report] | Sequence[str] | None]"
)

_STALE_S = 10.0


class StatusFile:
    """Written by one process, each time as a whole.

    On a full disk the last report stays; its age tells.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def beside(cls, log: Path) -> StatusFile:
        """The status file of a change log."""
        return cls(log.with_name(log.name + ".status"))

    def write(self, report: Report) -> None:
        """Replace the report."""
        told = json.dumps({"pid": os.getpid(), "told_at": time.time(), **report})
        new = self._path.with_name(self._path.name + ".new")
        try:
            with os.fdopen(
                os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(told)
            new.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()

    def remove(self) -> None:
        """Remove the report: nobody runs."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def read_status(log: Path) -> dict[str, object]:
    """Read what the wrapper of a change log told last.

    Raises:
        DaemonError: None runs, or it does not tell any more.
    """
    path = StatusFile.beside(log)._path
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        pid, told_at = int(told["pid"]), float(told["told_at"])
    except FileNotFoundError:
        raise DaemonError(f"no wrapper runs with the change log {log}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DaemonError(f"{path} cannot be read ({type(error).__name__})") from None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise DaemonError(
            f"the wrapper with process id {pid} ended without saying so; see its log"
        ) from None
    except PermissionError:
        pass
    age_s = max(0.0, time.time() - told_at)
    if age_s > _STALE_S:
        told["warning"] = f"this is {age_s:.0f} s old: the wrapper is stuck, or its disk is full"
    result: dict[str, object] = {**told, "age_s": round(age_s, 1)}
    return result
