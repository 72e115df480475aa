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
from typing import TYPE_CHECKING

import numpy as np

from chorus_fabric._columns import BytesColumn
from chorus_fabric._frame import Frame, FrameKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chorus_fabric._feed import FeedBatch, FeedPart, StreamSchema

__all__ = ["FeedPosition", "FeedWriter"]


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
    """

    def __init__(
        self, *, tenant_id: str, sender: str, position: FeedPosition, tables: Sequence[str] = ()
    ) -> None:
        self._tenant_id = tenant_id
        self._sender = sender
        self._tables = tuple(tables)
        self._told: dict[int, StreamSchema] = {}
        self.position = position

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
        frames += [self._part(part) for part in batch.frames]
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

    def _part(self, part: FeedPart) -> Frame:
        last = int(part.seqs[-1])
        if part.kind is FrameKind.CLEAR:
            return self._frame(FrameKind.CLEAR, stream=part.stream, seq=last)
        vectors = part.vectors if part.kind is FrameKind.ROWS else np.empty((0, 0), np.float32)
        return Frame(
            kind=part.kind,
            tenant_id=self._tenant_id,
            sender=self._sender,
            stream=part.stream,
            epoch=self.position.epoch,
            seq=last,
            vectors=vectors,
            ids=part.ids,
            texts=part.texts,
            metadata=part.metadata,
            seqs=part.seqs,
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
