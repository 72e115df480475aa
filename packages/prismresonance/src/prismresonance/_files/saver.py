"""What an index remembers of the folders it was saved to."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from prismresonance.errors import IndexFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prismresonance._files.save import Content, SavedState

__all__ = ["Saver"]


class Saver:
    """Saves one index, by one thread at a time."""

    __slots__ = ("_lock", "_states")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Two for a folder after a save that failed late: it may be in the old or the new state.
        self._states: dict[Path, tuple[SavedState, ...]] = {}

    def knows(self, path: Path, state: SavedState) -> None:
        """Note that the index was opened from a folder; `path` is resolved."""
        self._states[path] = (state,)

    def save(self, path: Path, content: Callable[[], Content], *, replace: bool) -> None:
        """Save what `content` gives once it is this save's turn; see `save.save`."""
        # Here and not above: most indexes are never saved, and every import would pay for it.
        from prismresonance._files.folder import DiskFolder
        from prismresonance._files.save import save

        if path.exists() and not path.is_dir():
            raise IndexFileError("is a file; an index is saved to a folder", path=str(path))
        folder = DiskFolder(path)
        with self._lock:
            folder.prepare()
            with folder.locked():
                before = self._states.get(path, ())
                made: list[SavedState] = []

                def remember(state: SavedState) -> None:
                    made.append(state)
                    self._states[path] = (*before, state)

                save(
                    content(),
                    folder,
                    before,
                    replace=replace,
                    path=str(path),
                    token=secrets.token_hex(4),
                    remember=remember,
                )
                if made:
                    self._states[path] = (made[-1],)
