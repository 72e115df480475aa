"""What to send to one subscriber: a pure machine between a log and a sealer.

It opens with either nothing (the subscriber's position is good) or a RESET, then tells of every
table before rows of it, and closes each batch with a MARK. A MARK says from where to where the
batch went and how many changes it had, so that a subscriber notices one that is not whole; it is
also the heartbeat, with no changes.

The invariant: the frames sent since a RESET, up to a MARK at N, hold the last state of every row
whose last change is at or before N, and rows whose deletion the log has forgotten are not among
them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from chorus_fabric._codec import MAX_FRAME_BYTES
from chorus_fabric._columns import BytesColumn
from chorus_fabric._frame import Frame, FrameKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chorus_fabric._feed import FeedBatch, FeedPart, StreamSchema

__all__ = ["FeedPosition", "FeedWriter"]

_ROW_BYTES: Final = 32
_FRAME_BYTES: Final = 2 << 20
_MOST_ROW_BYTES: Final = MAX_FRAME_BYTES - (64 << 10)


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """Up to where somebody has everything; see `chorus_fabric.FeedLog`.

    Attributes:
        epoch: Epoch of the log; 0 for none.
        seq: Position in it.
        base: The log's floor when the reader was at 0.
    """

    epoch: int = 0
    seq: int = 0
    base: int = 0


class FeedWriter:
    """Make the frames for one subscriber.

    Args:
        tenant_id: Whose rows they are.
        sender: The node that sends.
        position: What the subscriber says it has.
        tables: Names of the tables it wants; none for all.

    Attributes:
        position: Up to where frames were made.
        oversized: How many rows were too large for a frame; they were told as gone.
    """

    def __init__(
        self, *, tenant_id: str, sender: str, position: FeedPosition, tables: Sequence[str] = ()
    ) -> None:
        self._tenant_id = tenant_id
        self._sender = sender
        self._tables = tuple(tables)
        self._told: dict[int, StreamSchema] = {}
        self.position = position
        self.oversized = 0

    def streams(self, schemas: Sequence[StreamSchema]) -> frozenset[int] | None:
        """Say which streams are wanted; `None` for all."""
        if not self._tables:
            return None
        return frozenset(
            schema.stream
            for schema in schemas
            if any(schema.answers_to(name) for name in self._tables)
        )

    def resumes(self, *, epoch: int, floor: int, head: int) -> bool:
        """Say whether the log can be read on from the position.

        Not from 0: there a log leaves out deletions, and the subscriber may hold rows of a first
        batch that was cut off.
        """
        at = self.position
        return at.epoch == epoch and 0 < at.seq <= head and floor <= max(at.seq, at.base)

    def reset(self, *, epoch: int, floor: int) -> list[Frame]:
        """Begin anew."""
        self.position = FeedPosition(epoch, 0, floor)
        self._told.clear()
        return [self._frame(FrameKind.RESET)]

    def batch(
        self,
        batch: FeedBatch,
        schemas: Sequence[StreamSchema],
        *,
        head: int,
        is_live: bool,
        source_age_s: float | None,
    ) -> list[Frame]:
        """Give the frames of what was read after the position, which moves on.

        Args:
            batch: What `FeedLog.read` gave.
            schemas: The tables as they are after that read.
            head: The log's head before that read.
            is_live: Whether the read came to that head.
            source_age_s: As the log says.
        """
        frames = self._schemas(schemas)
        for part in batch.frames:
            frames += self._part(part)
        changes = sum(len(part.seqs) for part in batch.frames)
        before = self.position
        self.position = FeedPosition(before.epoch, max(before.seq, batch.upto), before.base)
        word = {
            "after": before.seq,
            "changes": changes,
            "head": max(head, self.position.seq),
            "live": is_live,
            "base": before.base,
            "committed_ns": batch.committed_ns,
            "source_age_s": source_age_s,
        }
        mark = BytesColumn.from_items([json.dumps(word, separators=(",", ":")).encode()])
        frames.append(self._frame(FrameKind.MARK, metadata=mark))
        return frames

    def _schemas(self, schemas: Sequence[StreamSchema]) -> list[Frame]:
        wanted = self.streams(schemas)
        new = [
            schema
            for schema in schemas
            if self._told.get(schema.stream) != schema
            and (wanted is None or schema.stream in wanted)
        ]
        self._told.update((schema.stream, schema) for schema in new)
        return [
            self._frame(
                FrameKind.SCHEMA,
                stream=schema.stream,
                metadata=BytesColumn.from_items([schema.to_json()]),
            )
            for schema in new
        ]

    def _part(self, part: FeedPart) -> list[Frame]:
        if part.kind is FrameKind.CLEAR:
            return [self._frame(FrameKind.CLEAR, stream=part.stream, seq=int(part.seqs[-1]))]
        sizes = _sizes(part)
        frames = []
        for start, stop in _runs(sizes):
            is_too_large = sizes[start] > _MOST_ROW_BYTES  # such a row is a run of its own
            self.oversized += is_too_large
            frames.append(self._rows(part, slice(start, stop), is_gone=is_too_large))
        return frames

    def _rows(self, part: FeedPart, rows: slice, *, is_gone: bool) -> Frame:
        """Make the frame of some rows; of one that fits in no frame, tell that it is gone."""
        kind = FrameKind.GONE if is_gone else part.kind
        has_content = kind is FrameKind.ROWS
        none = slice(0, 0)
        return Frame(
            kind=kind,
            tenant_id=self._tenant_id,
            sender=self._sender,
            stream=part.stream,
            epoch=self.position.epoch,
            seq=int(part.seqs[rows][-1]),
            vectors=part.vectors[rows] if has_content else np.empty((0, 0), np.float32),
            ids=part.ids[rows],
            texts=part.texts[rows if has_content else none],
            metadata=part.metadata[rows if has_content else none],
            seqs=part.seqs[rows],
        )

    def _frame(
        self,
        kind: FrameKind,
        *,
        stream: int = 0,
        seq: int | None = None,
        metadata: BytesColumn | None = None,
    ) -> Frame:
        return Frame(
            kind=kind,
            tenant_id=self._tenant_id,
            sender=self._sender,
            stream=stream,
            epoch=self.position.epoch,
            seq=self.position.seq if seq is None else seq,
            metadata=BytesColumn.from_items(() if metadata is None else metadata),
        )


def _sizes(part: FeedPart) -> list[int]:
    """Say how many bytes each row takes in a frame, about."""
    count = len(part.seqs)
    sizes = np.full(count, _ROW_BYTES + 4 * part.vectors.shape[1], np.int64)
    for column in (part.ids, part.texts, part.metadata):
        if len(column) == count:
            ends = np.concatenate(([0], column.ends)).astype(np.int64)
            sizes += ends[1:] - ends[:-1]
    return sizes.tolist()


def _runs(sizes: list[int]) -> list[tuple[int, int]]:
    """Divide rows into runs that fit in a frame; a row that is too large stands alone."""
    if sum(sizes) <= _FRAME_BYTES:
        return [(0, len(sizes))] if sizes else []
    runs, start, total = [], 0, 0
    for place, size in enumerate(sizes):
        if place > start and total + size > _FRAME_BYTES:
            runs.append((start, place))
            start, total = place, 0
        total += size
    return [*runs, (start, len(sizes))]
