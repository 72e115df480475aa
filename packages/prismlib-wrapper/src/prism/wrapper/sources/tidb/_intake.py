"""What is pushed, from the body to the transactions that a source tells.

`accept` is the whole way of a push: read it, make room for it or refuse, put it on disk, hand it to
the sequencer. Only then is it acknowledged. The source takes transactions at the other end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from prism.wrapper.sources.errors import SourceError
from prism.wrapper.sources.tidb._canal import decode_canal
from prism.wrapper.sources.tidb._messages import Event, MessageError
from prism.wrapper.sources.tidb._open_protocol import decode_open
from prism.wrapper.sources.tidb._sequencer import Sequencer, Transaction
from prism.wrapper.sources.tidb._spool import PushSpool, Record, SpoolDamagedError

__all__ = ["BusyError", "Intake", "StoppedError"]

_LOG: Final = logging.getLogger("prism.wrapper")
_DECODERS: Final[dict[str, Callable[[bytes], list[Event]]]] = {
    "canal-json": decode_canal,
    "open-protocol": decode_open,
}
_RETRY_S: Final = 1.0


class BusyError(SourceError):
    """There is no room now. Nothing of the push was kept.

    Attributes:
        retry_after_s: When to try again.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoppedError(SourceError):
    """The push cannot be kept: the endpoint stops, or its disk fails. Nothing is acknowledged."""


class Intake:
    """See the module. `accept` may be called from any thread, the rest from the source's.

    Args:
        folder: Of the spool.
        segment_bytes: Size of its files.
        partitions: How many partitions push.
        memory_bytes: Room for what waits while transactions are released.
        window_bytes: Room for what waits for a mark.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int,
        partitions: int,
        memory_bytes: int,
        window_bytes: int,
    ) -> None:
        self._partitions = partitions
        self._memory_bytes = memory_bytes
        self._window_bytes = window_bytes
        self._changed = threading.Condition()
        self._spool = PushSpool(folder, segment_bytes=segment_bytes)
        self._sequencer = Sequencer(floor=0, partitions=partitions)
        self._is_open = False
        self._gap: str | None = None
        self._marked_at: float | None = None
        self._is_waiting = False
        self.refused = 0

    @property
    def spool_id(self) -> str:
        """The spool's name, which positions hold."""
        return self._spool.id

    @property
    def mark(self) -> int:
        """Everything committed before has come."""
        return self._sequencer.mark

    @property
    def size_bytes(self) -> int:
        """What waits in memory."""
        return self._sequencer.size_bytes

    @property
    def silent_s(self) -> float | None:
        """How long ago the last mark came; None if there was none."""
        at = self._marked_at
        return None if at is None else time.monotonic() - at

    def resume(self, floor: int) -> None:
        """Read back what lies on disk at or above a timestamp, and take pushes from now on.

        Raises:
            SpoolDamagedError: It cannot be read back.
        """
        sequencer = Sequencer(floor=floor, partitions=self._partitions)
        for record, segment in self._spool.replay():
            try:
                events = self._decoded(record)
            except MessageError as error:
                raise SpoolDamagedError(f"a push that was taken cannot be read: {error}") from None
            if record.partition >= self._partitions:
                raise SpoolDamagedError("partitions: fewer are configured than have pushed")
            self._spool.note(segment, _highest(events))
            sequencer.add(record.partition, events)
        with self._changed:
            self._sequencer = sequencer
            self._is_open = True

    def begin_anew(self) -> None:
        """Forget everything that was pushed, and take pushes from now on."""
        with self._changed:
            self._spool.reset()
            self._sequencer = Sequencer(floor=0, partitions=self._partitions)
            self._gap = None
            self._is_open = True

    def accept(
        self, encoding: str, partition: int, body: bytes, *, start_ts: int | None = None
    ) -> int:
        """Take a push; when this returns, it may be acknowledged.

        Args:
            encoding: `canal-json` or `open-protocol`.
            partition: Which partition of the changefeed this is of.
            body: Its messages.
            start_ts: Where the pusher's changefeed began, if it says so: if that is above the
                mark, something was never sent, and a new snapshot is made.

        Returns:
            How many events it holds.

        Raises:
            MessageError: It is not what its encoding says.
            BusyError: There is no room now.
            StoppedError: It cannot be kept.
        """
        if partition >= self._partitions:
            raise MessageError(
                f"partition {partition}: this wrapper knows {self._partitions}, from 0; raise "
                "[push] partitions"
            )
        record = Record(encoding, partition, body)
        events = self._decoded(record)
        with self._changed:
            self._make_room(len(body))
        try:
            self._spool.append(record, highest_ts=_highest(events))
        except OSError as error:
            _LOG.error("tidb: a push could not be kept: %s", error)
            raise StoppedError(
                "the push could not be written to disk; see the wrapper's log"
            ) from (None)
        with self._changed:
            before = self._sequencer.mark
            if start_ts is not None and before and start_ts > before:
                self._gap = f"the changefeed began at {start_ts}, after all that came before it"
            self._sequencer.add(partition, events)
            if self._sequencer.mark > before:
                self._marked_at = time.monotonic()
            self._changed.notify_all()
        return len(events)

    def wait_for_mark(self, timeout_s: float) -> int | None:
        """Wait until every partition has sent a mark; returns the lowest, None if time is up."""
        with self._changed:
            if self._changed.wait_for(lambda: self._sequencer.is_marked, timeout_s):
                return self._sequencer.mark
            return None

    def skip_to(self, floor: int) -> None:
        """Forget what was committed before: a snapshot told it."""
        with self._changed:
            self._sequencer.skip_to(floor)

    def take(self, *, limit_bytes: int, timeout_s: float) -> tuple[Sequence[Transaction], int]:
        """Take released transactions in order, and the floor after them; see `Sequencer.take`.

        Waits for some; returns none if time is up, or if the mark rose over nothing.
        """
        with self._changed:
            self._is_waiting = True
            try:
                self._changed.wait_for(
                    lambda: self._sequencer.has_released or self._gap is not None, timeout_s
                )
            finally:
                self._is_waiting = False
            return self._sequencer.take(limit_bytes)

    @property
    def gap(self) -> str | None:
        """Why what was pushed is not all that was committed, if that is known."""
        return self._gap

    def trim(self, ts: int) -> None:
        """Let go of what was committed before a timestamp: it is in the change log."""
        self._spool.trim(ts)

    def wake(self) -> None:
        """End a wait soon."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more, and let another process have the spool."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        self._spool.close()

    def _make_room(self, size: int) -> None:
        if not self._is_open:
            self.refused += 1
            raise BusyError("the wrapper is starting; try again", retry_after_s=_RETRY_S)
        held = self._sequencer.size_bytes
        if held + size <= self._memory_bytes or not held:
            return
        # While something is released, room comes by itself. Without a mark, room can only come from
        # the mark, which stands behind what is pushed now.
        if self._sequencer.has_released or held + size > self._window_bytes:
            if not self._sequencer.has_released:
                _LOG.warning(
                    "tidb: more than window_bytes (%d) came without a mark; pushes are refused. "
                    "Raise [push] window_bytes and restart",
                    self._window_bytes,
                )
            self.refused += 1
            raise BusyError(
                "the wrapper holds as much as it may; try again", retry_after_s=_RETRY_S
            )

    @staticmethod
    def _decoded(record: Record) -> list[Event]:
        return _DECODERS[record.encoding](record.body)


def _highest(events: Sequence[Event]) -> int:
    return max((event.ts for event in events), default=0)
