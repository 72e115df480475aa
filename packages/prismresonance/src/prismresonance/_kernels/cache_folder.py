"""Where compiled kernels are kept between processes."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cache_folder"]


def cache_folder() -> Path | None:
    """Find or make a folder that this user alone can write to.

    In this order: `PRISM_CACHE_DIR`; the platform's folder for caches; a folder in the temporary
    directory, named after the user. Loading compiled code from a folder means running what is in
    it, so one that other users can write to is passed over.

    Returns:
        The folder, `None` when there is none: then every process compiles for itself.
    """
    for folder in _candidates():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_private(folder):
                continue
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get("PRISM_CACHE_DIR")
    if chosen:
        yield Path(chosen) / "kernels"
    with contextlib.suppress(RuntimeError):  # no home folder can be found
        yield _user_caches() / "prismresonance" / "kernels"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"prismresonance-{user}" / "kernels"


def _user_caches() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"


def _is_private(folder: Path) -> bool:
    if not hasattr(os, "getuid"):  # Windows: a user's folders are private by their inherited list
        return True
    for place in (folder, folder.parent):
        status = place.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return False
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True
