"""A disk that can be full: a small file system of its own where we may mount one."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from pathlib import Path

__all__ = ["Disk"]

_STEP = 1 << 12


class Disk:
    """A folder whose disk can be filled up.

    As root on Linux it is a tmpfs, and full means ENOSPC. Elsewhere a process is let write no file
    beyond the size of the largest that is there, which it sees as EFBIG: SQLite tells both alike.

    Args:
        folder: Where; made if it is not there.
        size_bytes: Of the tmpfs.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        self.is_mounted = (
            os.geteuid() == 0
            and not subprocess.run(command, check=False, capture_output=True).returncode
        )
        self._ballast = folder / "ballast"
        self._limited: int | None = None

    def fill(self, pid: int) -> None:
        """Leave no room to that process."""
        if self.is_mounted:
            with self._ballast.open("ab", buffering=0) as file:
                for step in (1 << 20, _STEP):
                    try:
                        while file.write(bytes(step)) == step:
                            pass
                    except OSError:
                        pass
            return
        size = max((path.stat().st_size for path in self.folder.iterdir()), default=0)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        self._limited = pid

    def free(self) -> None:
        """Make room again."""
        if self.is_mounted:
            self._ballast.unlink(missing_ok=True)
        elif self._limited is not None:
            limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self._limited, resource.RLIMIT_FSIZE, limits)
            self._limited = None

    def close(self) -> None:
        """Unmount it."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
            self.is_mounted = False
