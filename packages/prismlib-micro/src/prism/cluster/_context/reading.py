"""Chunks are read once and kept on a shelf: in most apps they come again."""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from prism.cluster._context.chunk import ReadChunk
from prism.cluster._context.terms import terms
from prism.cluster._context.units import Kind, split_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prismresonance.embed import Embedder

__all__ = ["Shelf", "read_chunks"]

_FACTS = re.compile(r"\d+(?:[.,:/-]\d+)*|\b(?:not|no|never|none|without)\b|n['’]t\b")


class Shelf:
    """Read chunks by their text, up to a number of bytes: what was used longest ago goes first.

    Safe to use from several threads.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, ReadChunk] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> ReadChunk | None:
        """Give a chunk that was put before."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, chunk: ReadChunk) -> None:
        """Keep a chunk."""
        with self._lock:
            if key in self._kept or chunk.size_bytes > self._most_bytes:
                return
            self._kept[key] = chunk
            self._bytes += chunk.size_bytes
            while self._bytes > self._most_bytes:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.size_bytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)


def read_chunks(
    chunks: Sequence[str],
    *,
    shelf: Shelf,
    embedder: Embedder,
    count_tokens: Callable[[str], int],
) -> list[ReadChunk]:
    """Read chunks, those that are not on the shelf with one call of the embedder."""
    keys = [
        blake2b(chunk.encode("utf-8", "surrogatepass"), digest_size=16).digest() for chunk in chunks
    ]
    found = {key: shelf.get(key) for key in keys}
    new = {key: chunk for key, chunk in zip(keys, chunks, strict=True) if found[key] is None}
    if new:
        for key, one in zip(new, _read(list(new.values()), embedder, count_tokens), strict=True):
            shelf.put(key, one)
            found[key] = one
    return [kept for key in keys if (kept := found[key]) is not None]


def _key(chunk: str) -> bytes:
    return blake2b(chunk.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(
    chunks: list[str], embedder: Embedder, count_tokens: Callable[[str], int]
) -> list[ReadChunk]:
    units = [split_units(chunk) for chunk in chunks]
    texts = [
        [chunk[unit.start : unit.end] for unit in of_chunk]
        for chunk, of_chunk in zip(chunks, units, strict=True)
    ]
    embedded = embedder.embed([text for of_chunk in texts for text in of_chunk])
    read, at = [], 0
    for chunk, of_chunk, its_texts in zip(chunks, units, texts, strict=True):
        wordings = tuple(" ".join(text.split()).casefold() for text in its_texts)
        counts = tuple(Counter(terms(text)) for text in its_texts)
        vectors = np.array(embedded[at : at + len(of_chunk)], dtype=np.float32)
        vectors[[unit.kind is Kind.HEADER for unit in of_chunk]] = 0
        at += len(of_chunk)
        read.append(
            ReadChunk(
                units=of_chunk,
                counts=counts,
                lengths=np.array([count.total() for count in counts], dtype=np.float64),
                tokens=tuple(map(count_tokens, its_texts)),
                wordings=wordings,
                facts=tuple(tuple(_FACTS.findall(wording)) for wording in wordings),
                all_tokens=count_tokens(chunk),
                vectors=vectors,
            )
        )
    return read
