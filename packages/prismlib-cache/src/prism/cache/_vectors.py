"""The vectors of one shelf: an index of rows, each of which leads to an entry.

Readers take no lock: the index answers from snapshots. Writers come under the shelf's lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prism.cache._entry import Entry
from prism.cache._metrics import Ledger
from prismresonance import PrismProjector, WaveIndex

__all__ = ["Vectors"]

# Neighbours the verdict sees. The true nearest full-width neighbour was among the first 16 of the
# 64-d scan in every one of the measured queries with a cosine of .80 or more (MiniLM, 10,000 and
# 39,000 entries).
_CANDIDATES = 16
# Of so few rows a filter has the index score each.
_FEW_ROWS = 256


class Vectors:
    """Rows of vectors and the entries that they lead to. One writer at a time.

    Attributes:
        index: The index; made with the first vector, since a tenant without entries should cost
            next to nothing.

    Args:
        tenant_id: Whose vectors they are.
        ledger: Where vectors that cannot be read are counted.
    """

    def __init__(self, tenant_id: str, ledger: Ledger) -> None:
        self.index: WaveIndex | None = None
        self._tenant_id = tenant_id
        self._ledger = ledger
        self._entries: dict[int, Entry] = {}
        self._rows_of: Counter[bytes] = Counter()
        # Rows of one scope share one payload, which tells them from all others.
        self._payloads: dict[bytes, dict[str, bytes]] = {}
        # The payload of all rows of the index, if they are of one scope and not few: a filter would
        # change nothing then, and have the index look all of them up anew after each write.
        self._only: dict[str, bytes] | None = None

    def near(
        self, vector: npt.NDArray[np.float32], scope: bytes, now: float
    ) -> list[tuple[Entry, float]]:
        """Find the nearest entries of a scope with their cosines, the nearest first.

        A vector of zeros is near nothing. What expired before `now`, or was removed since the
        index answered, is left out.
        """
        index = self.index
        if index is None or not vector.any():
            return []
        only = self._only
        if only is not None and only["scope"] == scope:
            near = []
            for row, cosine, payload in index.query(vector, _CANDIDATES):
                if payload is not only:
                    # Another scope's row has come in since.
                    break
                entry = self._entries.get(row)  # type: ignore[arg-type]  # given no ids, it counts
                if entry is not None and entry.expires_at > now:
                    near.append((entry, cosine))
            else:
                return near
        return [
            (entry, cosine)
            for row, cosine, _ in index.query(vector, _CANDIDATES, where={"scope": scope})
            if (entry := self._entries.get(row)) is not None  # type: ignore[arg-type]  # as above
            and entry.expires_at > now
        ]

    def add(self, placed: Sequence[tuple[Entry, bytes]]) -> None:
        """Take in entries with their vectors as they are stored, and give the entries rows."""
        searchable = self._searchable(placed)
        if not searchable:
            return
        if self.index is None:
            self.index = WaveIndex(
                PrismProjector(dim=64, tenant_id=self._tenant_id), indexed_fields=("scope",)
            )
        rows = self.index.add_many(
            vectors=np.stack([unit for _, unit in searchable]),
            payloads=[
                self._payloads.setdefault(entry.scope, {"scope": entry.scope})
                for entry, _ in searchable
            ],
        )
        for (entry, _), row in zip(searchable, rows, strict=True):
            entry.row = int(row)
            self._entries[entry.row] = entry
            self._rows_of[entry.scope] += 1
        self._note_scopes()

    def remove(self, entry: Entry) -> None:
        """Remove an entry's row, if it has one."""
        if entry.row is None or self.index is None:
            return
        self._entries.pop(entry.row, None)
        self.index.remove(entry.row)
        self._rows_of[entry.scope] -= 1
        if not self._rows_of[entry.scope]:
            del self._rows_of[entry.scope], self._payloads[entry.scope]
        self._note_scopes()

    def compact(self) -> None:
        """Release the room of removed vectors; the index would keep it until more are removed."""
        if self.index is not None:
            self.index.compact()

    def clear(self) -> None:
        """Let go of all rows."""
        self.index = None
        self._entries = {}
        self._rows_of.clear()
        self._payloads.clear()
        self._only = None

    def _searchable(
        self, placed: Sequence[tuple[Entry, bytes]]
    ) -> list[tuple[Entry, npt.NDArray[np.float32]]]:
        """Read the stored vectors, of those that can be searched."""
        sizes = Counter(len(vector) for _, vector in placed if vector)
        if not sizes:
            return []
        width = self.index.width if self.index is not None else None
        size = 4 * width if width else sizes.most_common(1)[0][0]
        found = []
        for entry, vector in placed:
            if len(vector) == size and size % 4 == 0:
                unit = np.frombuffer(vector, dtype="<f4")
                if np.isfinite(unit).all():
                    if unit.any():
                        found.append((entry, unit))
                    continue
            if vector:
                # Another embedder under the same name, or a damaged store: the text still answers.
                self._ledger.error("vector")
        return found

    def _note_scopes(self) -> None:
        counts = self._rows_of
        is_one = len(counts) == 1 and counts.total() > _FEW_ROWS
        self._only = self._payloads[next(iter(counts))] if is_one else None
