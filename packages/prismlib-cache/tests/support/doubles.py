"""What the tests of the cache put in place of a model, an embedder and time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# numpy loads its `random` at the first use; a child forked just then would wait for ever.
from numpy.random import default_rng


class WordEmbedder:
    """Texts that share words are near: enough meaning for tests of everything but meaning."""

    model_id = "words-64"
    dim = 64

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                seed = int.from_bytes(hashlib.sha256(word.encode("utf-8", "replace")).digest()[:4])
                row += default_rng(seed).standard_normal(self.dim).astype(np.float32)
            row /= np.linalg.norm(row) or 1.0
        return rows


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Model:
    """A model that counts its calls and words each answer anew. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: list[str] = []

    @property
    def calls(self) -> int:
        return len(self.asked)

    def answer(self, question: str) -> str:
        with self._lock:
            self.asked.append(question)
            return f"answer {len(self.asked)} to {question}"
