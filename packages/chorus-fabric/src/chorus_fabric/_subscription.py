"""What a subscriber makes of the frames it gets: a pure machine, beside `_feed_writer`.

    EMPTY --RESET--> BUILDING --MARK that is live--> FOLLOWING --RESET--> BUILDING ...

- Rows count as received only with the MARK behind them: it names the position they came after and
  how many changes there were. If that is not what came, something was lost on the way, and the
  stream is taken up again from the last MARK. What was applied meanwhile is applied again; that
  does no harm, because every change carries its number and an older one never undoes a newer.
- Frames of another epoch than the last RESET's, or rows of a table nobody described, are refused.
- While BUILDING, what is built is not what is read: the old replica answers until the first MARK
  that is live. Whether BUILDING or not, a cut stream is taken up where it was.
- A table that gets another model or width within an epoch cannot be followed: begin anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

from chorus_fabric._feed import StreamSchema
from chorus_fabric._feed_writer import FeedPosition
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric.errors import FeedProtocolError, InvalidFrameError

__all__ = [
    "Began",
    "Cleared",
    "Deleted",
    "Described",
    "FeedEvent",
    "Phase",
    "Reached",
    "Subscription",
    "Upserted",
]


class Phase(Enum):
    """Where a subscriber stands.

    Attributes:
        EMPTY: It has nothing.
        BUILDING: A snapshot comes in.
        FOLLOWING: It has a whole state and follows the changes.
    """

    EMPTY = "empty"
    BUILDING = "building"
    FOLLOWING = "following"


@dataclass(frozen=True, slots=True)
class Began:
    """Build anew, beside what is there.

    Attributes:
        epoch: The epoch of the log that begins.
    """

    epoch: int


@dataclass(frozen=True, slots=True)
class Described:
    """A table is there, or has changed.

    Attributes:
        schema: What it is like from here on.
    """

    schema: StreamSchema


@dataclass(frozen=True, slots=True, eq=False)
class Upserted:
    """Rows are there or have changed: the frame's, each with its number.

    Attributes:
        schema: Their table.
        frame: The ROWS frame.
    """

    schema: StreamSchema
    frame: Frame


@dataclass(frozen=True, slots=True, eq=False)
class Deleted:
    """Rows are gone, unless they are known under a higher number.

    Attributes:
        schema: Their table.
        frame: The GONE frame.
    """

    schema: StreamSchema
    frame: Frame


@dataclass(frozen=True, slots=True)
class Cleared:
    """All rows of a table are gone whose number is not above that.

    Attributes:
        schema: The table.
        seq: The number.
    """

    schema: StreamSchema
    seq: int


@dataclass(frozen=True, slots=True)
class Reached:
    """Everything up to a position is applied.

    Attributes:
        position: The position; resume from here.
        head: The log's head when it was sent.
        is_live: Whether that was all there was.
        is_first: Whether what was built since `Began` is whole from now on.
        committed_ns: When the newest change was committed, by the source's clock; may be `None`.
        source_age_s: Seconds since the log last held all that its source had; `None`: unknown.
    """

    position: FeedPosition
    head: int
    is_live: bool
    is_first: bool
    committed_ns: int | None
    source_age_s: float | None


FeedEvent = Began | Described | Upserted | Deleted | Cleared | Reached


class Subscription:
    """Turn frames into what to do with a replica.

    Args:
        position: What the replica holds, if it comes from a file; it is whole then.
        schemas: The tables it has.
    """

    def __init__(
        self, position: FeedPosition | None = None, schemas: tuple[StreamSchema, ...] = ()
    ) -> None:
        position = position or FeedPosition()
        self.position = position
        self.phase = Phase.FOLLOWING if position.epoch else Phase.EMPTY
        self._schemas = {schema.stream: schema for schema in schemas}
        self._changes = 0

    def reconnect(self) -> FeedPosition:
        """Forget what came since the last MARK; gives the position to subscribe from."""
        self._changes = 0
        return self.position

    def forget(self) -> None:
        """Begin anew with the next stream, whatever is there."""
        self.position = FeedPosition()
        self.phase = Phase.EMPTY
        self._changes = 0

    def receive(self, frame: Frame) -> FeedEvent:
        """Take a frame.

        Raises:
            FeedProtocolError: It does not follow from what came before. Nothing has changed;
                end the stream, call `forget` if the error says so, and subscribe again.
        """
        if frame.kind is FrameKind.RESET:
            return self._reset(frame)
        if frame.epoch != self.position.epoch or self.phase is Phase.EMPTY:
            raise FeedProtocolError(
                f"a {frame.kind.name} frame of epoch {frame.epoch}, but the feed is in epoch "
                f"{self.position.epoch}"
            )
        if frame.kind is FrameKind.SCHEMA:
            return self._describe(frame)
        if frame.kind is FrameKind.MARK:
            return self._mark(frame)
        schema = self._schemas.get(frame.stream)
        if schema is None:
            raise FeedProtocolError(f"rows of stream {frame.stream}, which was not described")
        if frame.kind is FrameKind.CLEAR:
            self._changes += 1
            return Cleared(schema, frame.seq)
        if frame.kind not in (FrameKind.ROWS, FrameKind.GONE):
            raise FeedProtocolError(f"a {frame.kind.name} frame has no place in a feed")
        count = len(frame.ids)
        if len(frame.seqs) != count:
            raise FeedProtocolError(f"{count} ids with {len(frame.seqs)} numbers")
        if frame.kind is FrameKind.GONE:
            self._changes += count
            return Deleted(schema, frame)
        if not count == len(frame.texts) == len(frame.metadata) == len(frame.vectors):
            raise FeedProtocolError("the columns of a ROWS frame differ in length")
        if frame.dims != schema.dim:
            raise FeedProtocolError(
                f"vectors of width {frame.dims} for {schema.full_name!r}, whose are {schema.dim}",
                begin_anew=True,
            )
        self._changes += count
        return Upserted(schema, frame)

    def _reset(self, frame: Frame) -> Began:
        if frame.epoch == 0:
            raise FeedProtocolError("a RESET to epoch 0, which is none")
        self.position = FeedPosition(frame.epoch, 0, 0)
        self.phase = Phase.BUILDING
        self._schemas = {}
        self._changes = 0
        return Began(frame.epoch)

    def _describe(self, frame: Frame) -> Described:
        try:
            schema = StreamSchema.from_json(frame.metadata[0])
        except (IndexError, InvalidFrameError) as error:
            raise FeedProtocolError(f"a SCHEMA frame that cannot be read: {error}") from error
        known = self._schemas.get(schema.stream)
        if known is not None and known.dim:
            was = (known.full_name, known.model_id, known.dim)
            if was != (schema.full_name, schema.model_id, schema.dim):
                raise FeedProtocolError(
                    f"stream {schema.stream} was {was} and is "
                    f"{(schema.full_name, schema.model_id, schema.dim)} within one epoch",
                    begin_anew=True,
                )
        self._schemas[schema.stream] = schema
        return Described(schema)

    def _mark(self, frame: Frame) -> Reached:
        try:
            word = json.loads(frame.metadata[0])
            after, changes, head = int(word["after"]), int(word["changes"]), int(word["head"])
            base, is_live = int(word["base"]), bool(word["live"])
            committed_ns, age = word["committed_ns"], word["source_age_s"]
            committed_ns = None if committed_ns is None else int(committed_ns)
            age = None if age is None else float(age)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise FeedProtocolError(f"a MARK frame that cannot be read: {error!r}") from error
        if (after, changes) != (self.position.seq, self._changes) or frame.seq < after:
            raise FeedProtocolError(
                f"a gap: {self._changes} changes came after {self.position.seq}, and the MARK at "
                f"{frame.seq} speaks of {changes} after {after}"
            )
        self._changes = 0
        self.position = FeedPosition(frame.epoch, frame.seq, base)
        is_first = is_live and self.phase is Phase.BUILDING
        if is_first:
            self.phase = Phase.FOLLOWING
        return Reached(self.position, max(head, frame.seq), is_live, is_first, committed_ns, age)
