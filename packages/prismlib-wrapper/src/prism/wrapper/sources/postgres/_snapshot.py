"""Rows of a table as they were in an exported snapshot, in batches of a bounded size.

Each batch is one COPY over a range of the table's blocks, so no more is held than what was asked
for and the batch after it, and a slow consumer holds up nothing but itself. The range is chosen by
what the blocks before it gave, since values stored out of line make a block's text any size. The
server writes the next batch while the last one is read: else each would wait for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from prism.wrapper.sources._batch import RowBatch
from prism.wrapper.sources.postgres._catalogue import Leaf
from prism.wrapper.sources.postgres._publication import FollowedTable
from prism.wrapper.sources.postgres._session import Session
from prism.wrapper.sources.postgres._sql import identifier, qualified

__all__ = ["copy_leaf", "rows_estimate"]

_FIRST_BLOCKS: Final = 64
_GROWTH: Final = 4


def copy_leaf(
    session: Session, table: FollowedTable, leaf: Leaf, *, batch_bytes: int
) -> Iterator[RowBatch]:
    """Read the rows of a table or of one partition, in a transaction that was begun before.

    Raises:
        SourceError: The database does not answer, or refuses.
    """
    names = ", ".join(identifier(column.name) for column in table.schema.columns)
    condition = f" AND ({table.row_filter})" if table.row_filter else ""
    source = f"SELECT {names} FROM ONLY {qualified(leaf.schema, leaf.name)}"  # noqa: S608  # quoted names of the catalogue

    def read(first: int, last: int) -> bytes:
        return session.copy(
            f"COPY ({source} WHERE ctid >= '({first},0)' AND ctid < '({last},0)'{condition}) "
            "TO STDOUT"
        )

    first, blocks = 0, _FIRST_BLOCKS
    # Blocks that were added since hold no row that the snapshot sees.
    last = min(blocks, leaf.blocks)
    with ThreadPoolExecutor(1, "prism-pg-copy") as ahead:
        coming = ahead.submit(read, first, last) if first < last else None
        while coming is not None:
            blob = coming.result()
            per_block = max(1.0, len(blob) / (last - first))
            blocks = max(1, min(blocks * _GROWTH, int(batch_bytes / per_block)))
            first, last = last, min(last + blocks, leaf.blocks)
            coming = ahead.submit(read, first, last) if first < last else None
            if blob:
                yield RowBatch.from_copy_text(table.schema, blob)


def rows_estimate(leaves: list[Leaf]) -> int | None:
    """How many rows the database believes the tables have, or None if it has not counted all."""
    if any(leaf.rows_estimate < 0 and leaf.blocks for leaf in leaves):
        return None
    return round(sum(max(leaf.rows_estimate, 0.0) for leaf in leaves))
