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
from prismresonance import Match, PrismProjector, WaveIndex

__all__ = ["Vectors"]

# Neighbours the verdict sees. The true nearest full-width neighbour was among the first 16 of the
# 64-d scan in every one of the measured queries with a cosine of .80 or more (MiniLM, 10,000 and
# 39,000 entries).
_CANDIDATES = 16
# Of so few rows a filter has the index score each.
_FEW_ROWS = 256


class Vectors:
    """Rows of vectors with the keys of their entries. One writer at a time.

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
        self._rows_of: Counter[bytes] = Counter()
        # The scope of all rows of the index, if they are of one and not few: a filter would change
        # nothing then, and have the index look all of them up anew after each write.
        self._only_scope: bytes | None = None

    def near(self, vector: npt.NDArray[np.float32], scope: bytes) -> list[Match]:
        """Find the nearest rows of a scope, the nearest first; payloads have their `key`.

        A vector of zeros is near nothing.
        """
        index = self.index
        if index is None or not vector.any():
            return []
        is_alone = self._only_scope == scope
        found = index.query(vector, _CANDIDATES) if is_alone else []
        # Another scope's row may have come in since.
        if not is_alone or any(match.payload["scope"] != scope for match in found):
            found = index.query(vector, _CANDIDATES, where={"scope": scope})
        return found

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
            payloads=[{"scope": entry.scope, "key": entry.key} for entry, _ in searchable],
        )
        for (entry, _), row in zip(searchable, rows, strict=True):
            entry.row = int(row)
            self._rows_of[entry.scope] += 1
        self._note_scopes()

    def remove(self, entry: Entry) -> None:
        """Remove an entry's row, if it has one."""
        if entry.row is None or self.index is None:
            return
        self.index.remove(entry.row)
        self._rows_of[entry.scope] -= 1
        if not self._rows_of[entry.scope]:
            del self._rows_of[entry.scope]
        self._note_scopes()

    def compact(self) -> None:
        """Release the room of removed vectors; the index would keep it until more are removed."""
        if self.index is not None:
            self.index.compact()

    def clear(self) -> None:
        """Let go of all rows."""
        self.index = None
        self._rows_of.clear()
        self._only_scope = None

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
        self._only_scope = next(iter(counts)) if is_one else None
