"""Vectors that are kept on disk: streams share most texts, and a transformer takes its time."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prismresonance.embed import Embedder, SelectiveEmbedder

_BATCH = 64


def default_folder() -> Path:
    """Give the folder of this user for vectors: below `PRISM_CACHE_DIR`, or the user's caches."""
    if chosen := os.environ.get("PRISM_CACHE_DIR"):
        return Path(chosen) / "benchmarks"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        caches = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "prismresonance" / "benchmarks"


class KeptVectors:
    """An embedder that asks another one only for texts it has never seen, in this run or before.

    It is given to a cache like any other embedder, so the cache does everything itself. What it
    is asked about beside the questions (answers, say) is embedded as it comes and kept as well.
    Safe for threads.

    Attributes:
        is_live: Ask the other embedder for every text, as a program without kept vectors would.
        embedding_s: Seconds that the other embedder took.

    Args:
        embedder: Whose vectors they are.
        folder: Where they are kept, in a file named after the embedder's `model_id`.
    """

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder = embedder
        self.is_live = False
        self.embedding_s = 0.0
        self._lock = threading.Lock()
        self._rows: dict[str, npt.NDArray[np.float32]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", embedder.model_id)
        self._file = sqlite3.connect(
            folder / f"{name}.db", check_same_thread=False, timeout=60, isolation_level=None
        )
        # What a crash of the machine loses can be embedded again.
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS vectors(text BLOB PRIMARY KEY, row BLOB)")

    @property
    def model_id(self) -> str:
        """The other embedder's."""
        return self._embedder.model_id

    @property
    def dim(self) -> int:
        """The other embedder's."""
        return self._embedder.dim

    def reads(self, text: str) -> bool:
        """Ask the other embedder whether it sees all of a text."""
        embedder = self._embedder
        return not isinstance(embedder, SelectiveEmbedder) or embedder.reads(text)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Give the kept rows, embedding what is missing."""
        if self.is_live:
            return self._embedder.embed(texts)
        if any(text not in self._rows for text in texts):
            self.learn(texts)
        rows = np.empty((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self._rows[text]
        return rows

    def learn(
        self,
        texts: Iterable[str],
        track: Callable[[Sequence[int]], Iterable[int]] = iter,
    ) -> None:
        """Make sure that these texts are kept.

        Args:
            texts: Any texts.
            track: Shows progress; is given the starts of the batches.
        """
        unknown = [text for text in dict.fromkeys(texts) if text not in self._rows]
        with self._lock:
            missing = [text for text in unknown if not self._read(text)]
        for start in track(range(0, len(missing), _BATCH)):
            batch = missing[start : start + _BATCH]
            began = time.perf_counter()
            rows = self._embedder.embed(batch)
            took = time.perf_counter() - began
            with self._lock:
                self.embedding_s += took
                self._rows.update(zip(batch, rows, strict=True))
                kept = [(_key(t), r.tobytes()) for t, r in zip(batch, rows, strict=True)]
                self._file.execute("BEGIN")
                self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", kept)
                self._file.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, text: str) -> bool:
        found = self._file.execute("SELECT row FROM vectors WHERE text = ?", (_key(text),))
        row = found.fetchone()
        if row is not None:
            self._rows[text] = np.frombuffer(row[0], np.float32)
        return row is not None


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
