"""Composed batches to their vectors and to the log, and positions back to the source.

A position is confirmed after it is in the log, never before: the database then forgets the changes
up to it. While there is no room on the disk the keeper waits and tries again; the channel before it
fills, the composer stops, then the reader, and the database keeps what is not confirmed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from prism.wrapper._changelog import ChangeLog
from prism.wrapper._pipeline.channel import Channel, ChannelClosed
from prism.wrapper._pipeline.shipment import Shipment
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper.errors import ChangeLogFullError
from prism.wrapper.sources import Source

__all__ = ["Keeper"]

_log = logging.getLogger("prism.wrapper.feed")

# Some ten batches of 1,024 rows with vectors: enough for the log never to wait for the embedder.
_IN_FLIGHT_BYTES = 16 << 20
# What waits for its vectors: some batches, so that the embedder never waits either.
_LACKING_BYTES = 8 << 20
_RETRY_S = 1.0
_IDLE_S = 0.2


class Keeper:
    """Makes the vectors of shipments and writes them to the log, in a thread each, in order.

    Args:
        log: The log.
        source: Told what is on disk.
        sightings: Told which rows are.
        landed: Called with each shipment that is.
        pause: Waits some seconds; whether to go on.
    """

    def __init__(
        self,
        *,
        log: ChangeLog,
        source: Source,
        sightings: Sightings,
        landed: Callable[[Shipment], None],
        pause: Callable[[float], bool],
    ) -> None:
        self._log = log
        self._source = source
        self._sightings = sightings
        self._landed = landed
        self._pause = pause
        self._outstanding = 0
        self._idle = threading.Condition()
        self._channel: Channel[Shipment] = Channel(capacity=_IN_FLIGHT_BYTES)
        self._lacking: Channel[Shipment] = Channel(capacity=_LACKING_BYTES)
        self._without_vectors = 0  # shipments that are before or in `run_vectors`
        self._broken = False
        self.problem: str | None = None
        self.shipments = 0
        self.rows = 0
        self.last_append_at = time.monotonic()

    def ship(self, shipment: Shipment) -> None:
        """Take a shipment, waiting for room. For one thread."""
        with self._idle:
            self._outstanding += 1
            # What has no vectors need not go by way of them, unless it would overtake others.
            is_whole = shipment.vectorize is None and not self._without_vectors
            self._without_vectors += not is_whole
        try:
            channel = self._channel if is_whole else self._lacking
            channel.put(shipment, weight=max(1, shipment.size_bytes))
        except ChannelClosed:
            self._finished_one()
            raise

    def settle(self) -> None:
        """Wait until all that was shipped is in the log.

        Raises:
            ChannelClosed: The keeper has ended before.
        """
        with self._idle:
            while self._outstanding and not self._broken:
                self._idle.wait(1.0)
            if self._outstanding:
                raise ChannelClosed

    def is_idle(self) -> bool:
        """Say whether all that was shipped is in the log."""
        return self._outstanding == 0

    def close(self) -> None:
        """Take no more; `run_vectors` and `run` end once what was shipped is in the log."""
        self._lacking.close()

    def run_vectors(self) -> None:
        """Make vectors until closed; `run` ends after it.

        Raises:
            VectorizeError: They cannot be made, and waiting does not help.
        """
        is_done = False
        try:
            while not is_done:
                try:
                    shipment = self._lacking.get(timeout_s=_IDLE_S)
                except ChannelClosed:
                    is_done = True
                    continue
                if shipment is not None:
                    if shipment.vectorize is not None:
                        shipment.vectorize()
                    self._channel.put(shipment, weight=max(1, shipment.size_bytes))
                    with self._idle:
                        self._without_vectors -= 1
        finally:
            self._lacking.close(discard=True)
            self._channel.close()
            if not is_done:
                self._break()

    def run(self) -> None:
        """Write until closed.

        Raises:
            ChangeLogError: The log cannot be written, and waiting does not help.
        """
        try:
            while True:
                try:
                    shipment = self._channel.get(timeout_s=_IDLE_S)
                except ChannelClosed:
                    return
                if shipment is not None:
                    self._keep(shipment)
                else:
                    self.persist(lambda: int(self._log.tidy()))
        finally:
            self._lacking.close(discard=True)
            self._channel.close(discard=True)
            self._break()

    def _keep(self, shipment: Shipment) -> None:
        self.persist(
            lambda: self._log.append(
                shipment.batches,
                position=shipment.position,
                committed_ns=shipment.committed_ns,
            )
        )
        self._landed(shipment)
        self.shipments += 1
        self.rows += max((len(batch) for batch in shipment.batches.values()), default=0)
        self.last_append_at = time.monotonic()
        if shipment.position is not None:
            self._source.confirm(shipment.position)
        for key, position in shipment.sightings:
            for waiting in self._sightings.reached(key, position):
                waiting.fulfil(epoch=self._log.epoch, seq=self._log.seq_of(key))
        self._finished_one()

    def persist(self, work: Callable[[], int | None]) -> int | None:
        """Do what writes to the log; while there is no room, wait and do it again. Any thread."""
        while True:
            try:
                result = work()
            except ChangeLogFullError as error:
                if self.problem is None:
                    _log.warning("%s", error)
                self.problem = str(error)
                if not self._pause(_RETRY_S):
                    raise
            else:
                if self.problem is not None:
                    _log.info("the change log takes rows again")
                self.problem = None
                return result

    def _break(self) -> None:
        """Have nobody wait for what will not come."""
        with self._idle:
            self._broken = True
            self._idle.notify_all()

    def _finished_one(self) -> None:
        with self._idle:
            self._outstanding -= 1
            self._idle.notify_all()
