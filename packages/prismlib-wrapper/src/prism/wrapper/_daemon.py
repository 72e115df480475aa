"""The wrapper as a process: threads that are started and ended in order.

    reader     source events into a channel, which holds it up
    composer   events to rows and texts
    vectors    texts to vectors
    keeper     rows to the change log, positions back to the source
    publisher  the log to the drivers (an event loop of its own)
    status     asks the source how it is, which may have to wait for the database

They stop in the direction of the stream: the source is closed, what was read is composed and
written, then the drivers get what they lack. What any of them cannot go on with ends all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable

from chorus_fabric import CHORUSPublisher, FabricConfigurationError
from prism.wrapper._changelog import ChangeLog
from prism.wrapper._config import WrapperConfig
from prism.wrapper._health import WrapperHealth
from prism.wrapper._origin import Origin
from prism.wrapper._pipeline.channel import Channel, ChannelClosed
from prism.wrapper._pipeline.composer import Composer
from prism.wrapper._pipeline.keeper import Keeper
from prism.wrapper._pipeline.rebuild import Rebuild
from prism.wrapper._pipeline.shipment import Target
from prism.wrapper._pipeline.sightings import Sightings
from prism.wrapper._progress import SnapshotProgress
from prism.wrapper._publishing import driver_endpoints, publisher_config, version
from prism.wrapper._queries import LogQueries
from prism.wrapper._recipe import Recipe, make_vectorizer
from prism.wrapper._status import StatusFile
from prism.wrapper._writes import TableWrites
from prism.wrapper.errors import ChangeLogFullError, VectorizeError, WrapperConfigurationError
from prism.wrapper.sources import Changes, Phase, RowBatch, SnapshotRows, Source, SourceEvent
from prism.wrapper.sources.errors import SourceClosedError

__all__ = ["Daemon"]

_log = logging.getLogger("prism.wrapper")

_READ_AHEAD_BYTES = 32 << 20
# Measured: a change of five short values takes 480 bytes more than their characters.
_BYTES_PER_CHANGE = 480
_TICK_S = 0.05
_KEPT_S = 0.001
_STATUS_EVERY_S = 1.0
_POSITION_EVERY_S = 2.0
_STOP_S = 30.0


class Daemon:
    """One wrapper: `run` returns when it was stopped, or raises what it cannot go on with.

    Args:
        config: The configuration.
        source: Read instead of the configured database; for tests.
        show_progress: Draw a bar for the snapshot on standard error, if that is a terminal.
    """

    def __init__(
        self, config: WrapperConfig, *, source: Source | None = None, show_progress: bool = False
    ) -> None:
        self._config = config
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._started_at = time.time()
        self._show_progress = show_progress
        vectorizer = make_vectorizer(
            config.vectors, tenant_id=config.chorus.tenant_id, pause=self._pause
        )
        self._vectorizer = vectorizer
        self._recipe = Recipe.of(config, vectorizer)
        self._fabric = publisher_config(config, vectorizer.model_id, vectorizer.embedder.dim)
        path = config.log_path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log = ChangeLog(path, kept_deletions=config.log.kept_deletions)
        self._source: Source = source or Origin(
            config, patient=self._log.state.position is not None
        )
        self._sightings = Sightings()
        self._events: Channel[SourceEvent] = Channel(_READ_AHEAD_BYTES)
        self._keeper = Keeper(
            log=self._log,
            source=self._source,
            sightings=self._sightings,
            landed=lambda shipment: self._composer.landed(shipment),
            pause=self._pause,
        )
        self._composer = Composer(
            log=self._log,
            source=self._source,
            recipe=self._recipe,
            sightings=self._sightings,
            ship=self._keeper.ship,
            settle=self._keeper.settle,
            persist=self._keeper.persist,
            pause=self._pause,
        )
        self._rebuild: Rebuild | None = None
        self._health = WrapperHealth(
            log=self._log,
            source=self._source,
            keeper=self._keeper,
            vectorizer=vectorizer,
            rebuild=lambda: self._rebuild,
            version=version(),
        )
        self._status = StatusFile.beside(path)
        self._publisher: CHORUSPublisher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening = threading.Event()
        self._over = asyncio.Event()

    @property
    def log(self) -> ChangeLog:
        """The change log."""
        return self._log

    @property
    def port(self) -> int | None:
        """Where drivers connect, once `run` listens."""
        return self._publisher.port if self._publisher else None

    def stop(self) -> None:
        """Have `run` drain and return. Safe in a signal handler and from any thread."""
        self._stopping.set()

    def reload(self) -> None:
        """Say that certificates are read anew, as they are at the next handshake after a change."""
        _log.info("certificates are read anew at the next handshake")

    def run(self) -> None:
        """Run until `stop`.

        Raises:
            WrapperError: It cannot go on; the message says why and what to do.
        """
        try:
            self._start_publisher()
            resume = self._resume()
            for name, work in (
                ("vectors", self._keeper.run_vectors),
                ("keeper", self._keeper.run),
                ("composer", self._compose),
                ("reader", lambda: self._read(resume)),
                ("status", lambda: self._health.keep_asking(self._pause)),
            ):
                self._start(name, work)
            self._watch()
            self._drain()
        finally:
            self._stopping.set()
            self._end_all()
        if self._failure is not None:
            raise self._failure

    # Starting.

    def _resume(self) -> str | None:
        """Decide where to go on; begin a rebuild, or go on with one, if rows are made otherwise."""
        state, recipe = self._log.state, self._recipe
        position = state.position
        if position is not None and state.shape != recipe.shape:
            _log.info("other tables or columns are configured: all rows are read anew")
            position = None
        if position is None:
            self._log.give_up_rebuild()
            return None
        targets = [Target(state.current, recipe)]
        if state.served.spec == recipe.spec:
            self._log.give_up_rebuild()
        else:
            rebuilding = state.rebuilding
            if rebuilding is not None and state.epochs[rebuilding].spec != recipe.spec:
                self._log.give_up_rebuild()
                rebuilding = None
            if rebuilding is None:
                schemas = [recipe.rebuilt(schema) for schema in self._log.schemas()]
                rebuilding = self._log.begin_rebuild(spec=recipe.spec, schemas=schemas)
            targets = [
                Target(state.current, Recipe.from_spec(state.served.spec)),
                Target(rebuilding, recipe),
            ]
            self._rebuild = Rebuild(
                self._log,
                recipe,
                persist=self._keeper.persist,
                is_stopping=self._stopping.is_set,
            )
        self._composer.aim(targets)
        if self._rebuild is not None:
            self._start("rebuild", self._rebuild.run)
        return position

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(name, work), name=f"prism-{name}")
        self._threads.append(thread)
        thread.start()

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (ChannelClosed, SourceClosedError):
            pass
        except BaseException as error:  # noqa: BLE001 - the top of a thread: told, then raised by `run`
            is_echo = self._stopping.is_set() and isinstance(
                error, (VectorizeError, ChangeLogFullError)
            )
            if self._failure is None and not is_echo:
                self._failure = error
                _log.debug("thread %s ends", name, exc_info=True)
            self._stopping.set()

    def _pause(self, seconds: float) -> bool:
        return not self._stopping.wait(seconds)

    # The threads.

    def _read(self, resume: str | None) -> None:
        try:
            for event in self._source.events(resume):
                self._events.put(event, weight=_weight(event))
        finally:
            self._events.close()
        if not self._stopping.is_set():
            raise WrapperConfigurationError("the source ended by itself")

    def _compose(self) -> None:
        composer = self._composer
        shipped_at = time.monotonic()
        try:
            while True:
                waits = composer.is_whole()
                event = self._events.get(timeout_s=_KEPT_S if waits else _TICK_S)
                if event is not None:
                    is_free = self._events.is_empty() and self._keeper.is_idle()
                    composer.take(event, more=not is_free)
                elif waits:
                    # What came while the log was busy goes there at once, in one piece.
                    if self._keeper.is_idle():
                        composer.flush()
                elif composer.has_work() and time.monotonic() - shipped_at > _POSITION_EVERY_S:
                    composer.flush()
                    shipped_at = time.monotonic()
                else:
                    composer.refresh_some()
                if self._rebuild is not None and self._rebuild.is_done:
                    self._finish_rebuild()
        except ChannelClosed:
            composer.flush()
        finally:
            self._events.close(discard=True)
            self._source.close()
            self._keeper.close()

    def _finish_rebuild(self) -> None:
        state = self._log.state
        if state.rebuilding is not None:
            self._composer.flush()
            self._keeper.settle()
            self._keeper.persist(self._log.finish_rebuild)
            self._composer.aim([Target(state.rebuilding, self._recipe)])
            _log.info("the new rows are complete and served")
        self._rebuild = None

    def _start_publisher(self) -> None:
        self._start("publisher", lambda: asyncio.run(self._serve()))
        self._listening.wait()
        if self._failure is not None:
            raise self._failure

    async def _serve(self) -> None:
        writes = TableWrites(self._config, log=self._log, sightings=self._sightings)
        try:
            try:
                publisher = self._make_publisher(writes)
                await publisher.start()
            except (OSError, FabricConfigurationError) as error:
                raise WrapperConfigurationError(f"[chorus] {error}") from error
            self._publisher = publisher
            self._loop = asyncio.get_running_loop()
        finally:
            self._listening.set()
        try:
            await self._over.wait()
        finally:
            await publisher.stop()
            writes.close()

    def _make_publisher(self, writes: TableWrites) -> CHORUSPublisher:
        publisher = CHORUSPublisher(
            self._fabric,
            log=self._log,
            queries=LogQueries(self._log, self._vectorizer.embedder, self._config),
            writes=writes,
            health=self._health,
        )
        for driver in driver_endpoints(self._config):
            publisher.add_driver(driver)
        return publisher

    # Watching and ending.

    def _watch(self) -> None:
        told_at = 0.0
        with SnapshotProgress(enabled=self._show_progress and sys.stderr.isatty()) as progress:
            while not self._stopping.wait(_TICK_S):
                self._log.set_behind(behind=not self._is_up_to_date())
                if time.monotonic() - told_at >= _STATUS_EVERY_S:
                    told_at = time.monotonic()
                    self._tell()
                    progress.show(self._source)

    def _is_up_to_date(self) -> bool:
        """Whether all that the source told is in the log."""
        health = self._health.source_status()
        return (
            health.connected
            and health.phase is Phase.STREAM
            and self._events.is_empty()
            and self._keeper.is_idle()
            and not self._composer.has_rows()
        )

    def _tell(self) -> None:
        subscribers = len(self._publisher.status.subscribers) if self._publisher else 0
        self._status.write(
            self._health.report(
                port=self.port, subscribers=subscribers, started_at=self._started_at
            )
        )

    def _drain(self) -> None:
        _log.info("stopping: what was read is written first")
        self._source.close()
        deadline = time.monotonic() + _STOP_S
        for thread in self._threads:
            if thread.name != "prism-publisher":
                thread.join(max(0.0, deadline - time.monotonic()))

    def _end_all(self) -> None:
        self._source.close()
        self._events.close(discard=True)
        self._keeper.close()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._over.set)
        for thread in self._threads:
            thread.join(_STOP_S)
        self._log.close()
        self._status.remove()


def _weight(event: SourceEvent) -> int:
    match event:
        case Changes(changes=RowBatch() as batch) | SnapshotRows(changes=RowBatch() as batch):
            return batch.size_bytes + _BYTES_PER_CHANGE * len(batch)
        case Changes(changes=changes):
            return 64 + sum(
                _BYTES_PER_CHANGE + sum(len(v) for v in change.values if isinstance(v, str))
                for change in changes
            )
        case SnapshotRows(changes=changes):
            return _BYTES_PER_CHANGE * len(changes)
        case _:
            return 64
