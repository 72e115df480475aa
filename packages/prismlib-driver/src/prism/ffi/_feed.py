"""The feed's thread: takes events, applies them, and keeps account of where the replica stands."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from chorus_fabric import (
    ChorusError,
    Connected,
    Disconnected,
    DriverListener,
    FeedPosition,
    Reached,
    Subscriber,
)
from prism.ffi._notices import Notices
from prism.ffi._replica import Replica, ReplicaKeeper
from prism.ffi._snapshot_file import SnapshotHead, load_snapshot, save_snapshot
from prism.ffi._status import Freshness
from prism.ffi._table import PROJECTED_DIM
from prism.ffi._waiters import Waiters
from prism.ffi.errors import SnapshotFileError
from prismresonance import PrismProjector

if TYPE_CHECKING:
    from chorus_fabric import ClientConfig, FeedEvent, StreamSchema, Welcome
    from prism.ffi._config import DriverConfig

__all__ = ["Feed"]

_log = logging.getLogger("prism.ffi")

_PAUSE_S = 1.0
_NEVER = float("-inf")
_ALWAYS = float("inf")


class Feed:
    """Keep a replica up to date, in a thread of its own.

    The attributes are written by that thread and read by all others, each in one step.

    Args:
        config: The driver's settings.
        client: How to reach the wrapper, with the tenant's name: the projection depends on it.

    Attributes:
        shown: The replica that readers see.
        fresh_until: Until when reads are within `max_lag_s`, by the monotonic clock.
        freshness: When the replica last held everything.
        position: Where the replica that readers see stands.
        head: The log's head.
        head_epoch: Of which epoch.
        welcome: What the wrapper announced last.
        is_connected: Whether the feed runs.
        reconnects: How often it was interrupted.
        last_error: Why, the last time.
        first_contact: Done when the wrapper first announced itself.
        ready: Done when the replica is whole: that of a wrapper that is whole itself.
    """

    def __init__(self, config: DriverConfig, *, client: ClientConfig) -> None:
        self._config = config
        self._client = client
        self._tenant_id = client.tenant_id or ""
        self._max_lag_s = config.max_lag_s
        self._keeper = self._new_keeper()
        self.shown: Replica = self._keeper.shown
        self.fresh_until = _ALWAYS if config.max_lag_s is None else _NEVER
        self.freshness = Freshness()
        self.position = FeedPosition()
        self.head = 0
        self.head_epoch = 0
        self.welcome: Welcome | None = None
        self.is_connected = False
        self.reconnects = 0
        self.last_error: ChorusError | None = None
        self.first_contact: Future[Welcome] = Future()
        self.ready: Future[None] = Future()
        self.waiters = Waiters()
        self.notices = Notices()
        self._subscriber: Subscriber | None = None
        self._listener: DriverListener | None = None
        self._thread: threading.Thread | None = None
        self._saver: threading.Thread | None = None
        self._saved_at = time.monotonic()
        self._saved = FeedPosition()
        self._is_closed = False
        self._closing = threading.Event()

    @property
    def port(self) -> int | None:
        """Where it listens; `None` when it dials."""
        return None if self._listener is None else self._listener.port

    @property
    def is_building(self) -> bool:
        """Whether a new replica is being built."""
        return self._keeper.is_building

    @property
    def building_rows(self) -> int:
        """Rows of the replica that is being built."""
        return self._keeper.building_rows

    def start(self) -> None:
        """Load the snapshot, if there is one, and begin.

        Raises:
            OSError: The port to listen on is taken.
            ChorusError: TLS files are not usable, or the host to listen on is not safe.
        """
        config = self._config
        if config.listen_port is not None:
            self._listener = DriverListener(
                host=config.listen_host,
                port=config.listen_port,
                tls=config.tls,
                secret=config.read_secret(),
            )
        head = self._load()
        if head is None:
            self._subscriber = self._new_subscriber(FeedPosition(), ())
        else:
            self._subscriber = self._new_subscriber(head.position, head.schemas)
        self._thread = threading.Thread(target=self._run, name="prism-driver-feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and write the snapshot."""
        if self._is_closed:
            return
        self._is_closed = True
        self._closing.set()
        if self._subscriber is not None:
            self._subscriber.close()
        if self._thread is not None:
            self._thread.join()
        if self._saver is not None:
            self._saver.join()
        self.notices.close()
        if not self._keeper.is_building:
            self._save(self.shown, self.position)

    def _run(self) -> None:
        while not self._is_closed and self._subscriber is not None:
            try:
                self._follow(self._subscriber)
            except Exception as error:  # noqa: BLE001  the thread goes on, whatever it was
                # A replica that stopped without a word would be worse than one built anew.
                _log.exception("the feed failed, and the replica is built anew")
                self._disconnected(ChorusError(f"internal error: {type(error).__name__}"))
                self._closing.wait(_PAUSE_S)
                self._subscriber = self._new_subscriber(FeedPosition(), ())
                if self._is_closed:
                    self._subscriber.close()

    def _follow(self, subscriber: Subscriber) -> None:
        for event in subscriber:
            if isinstance(event, Connected):
                self._connected(event.welcome)
            elif isinstance(event, Disconnected):
                self._disconnected(event.error)
            else:
                self._apply(event)

    def _new_subscriber(
        self, position: FeedPosition, schemas: tuple[StreamSchema, ...]
    ) -> Subscriber:
        return Subscriber(
            self._client,
            tables=tuple(self._config.tables),
            position=position,
            schemas=schemas,
            listen=self._listener,
        )

    def _connected(self, welcome: Welcome) -> None:
        self.welcome = welcome
        # Numbers of two epochs do not compare.
        is_same = welcome.epoch == self.head_epoch
        self.head = max(self.head, welcome.head) if is_same else welcome.head
        self.head_epoch = welcome.epoch
        self.is_connected = True
        if not self.first_contact.done():
            self.first_contact.set_result(welcome)
        _log.info("connected to the wrapper %s", welcome.node_id)

    def _disconnected(self, error: ChorusError) -> None:
        if self.is_connected:
            self.reconnects += 1
        if self.last_error is None or str(self.last_error) != str(error):
            _log.warning("the feed is interrupted, trying again: %s", error)
        self.is_connected = False
        self.last_error = error

    def _apply(self, event: FeedEvent) -> None:
        applied = self._keeper.apply(event)
        shown = event if isinstance(event, Reached) and not self._keeper.is_building else None
        if isinstance(event, Reached):
            self.head, self.head_epoch = event.head, event.position.epoch
        if shown is not None:
            self._show(shown)
        if applied is not None:
            self.notices.put(applied)
        if shown is not None:
            # Last, so that who comes after `ready` hears of later changes alone.
            self.waiters.reached(self.position)
            # Without an age the wrapper's own first snapshot is not whole: more rows will come.
            is_whole = shown.is_live and shown.source_age_s is not None
            if is_whole and not self.ready.done():
                self.ready.set_result(None)
            self._save_if_due()

    def _show(self, event: Reached) -> None:
        self.shown = self._keeper.shown
        self.position = event.position
        self.freshness = self.freshness.after_mark(
            now=time.monotonic(), is_live=event.is_live, source_age_s=event.source_age_s
        )
        if self._max_lag_s is not None and self.freshness.at is not None:
            self.fresh_until = self.freshness.at + self._max_lag_s

    def _load(self) -> SnapshotHead | None:
        path = self._config.snapshot_path
        if path is None:
            return None
        keeper = self._new_keeper()
        try:
            head = load_snapshot(Path(path), keeper, expected=self._head(FeedPosition(), keeper))
        except FileNotFoundError:
            return None
        except (SnapshotFileError, OSError) as error:
            _log.warning("starting without the snapshot: %s", error)
            return None
        self._keeper = keeper
        self.shown = keeper.shown
        self.position = self._saved = head.position
        self.waiters.reached(head.position)
        self.ready.set_result(None)
        return head

    def _save_if_due(self) -> None:
        config = self._config
        if config.snapshot_path is None or self.position == self._saved:
            return
        if time.monotonic() - self._saved_at < config.snapshot_every_s:
            return
        if self._saver is not None and self._saver.is_alive():
            return
        self._saved_at = time.monotonic()
        self._saver = threading.Thread(
            target=self._save,
            args=(self.shown, self.position),
            name="prism-driver-snapshot",
            daemon=True,
        )
        self._saver.start()

    def _save(self, replica: Replica, position: FeedPosition) -> None:
        """Write a snapshot; the feed may go on meanwhile.

        What it changes then has higher numbers than `position`, so it comes again after a start
        from this file.
        """
        path = self._config.snapshot_path
        if path is None or not position.epoch or position == self._saved:
            return
        try:
            rows = save_snapshot(Path(path), self._head(position, replica), replica)
        except OSError as error:
            _log.warning("the snapshot could not be written: %s", error)
        else:
            self._saved = position
            _log.info("snapshot of %d rows written", rows)

    def _head(self, position: FeedPosition, replica: Replica | ReplicaKeeper) -> SnapshotHead:
        tables = replica.tables if isinstance(replica, Replica) else {}
        return SnapshotHead(
            tenant_id=self._tenant_id,
            model_id="" if self.welcome is None else self.welcome.model_id,
            tables=tuple(self._config.tables),
            position=position,
            schemas=tuple(table.schema for table in tables.values()),
        )

    def _new_keeper(self) -> ReplicaKeeper:
        return ReplicaKeeper(
            projector=PrismProjector(dim=PROJECTED_DIM, tenant_id=self._tenant_id),
            indexed_columns=self._config.indexed_columns,
        )
