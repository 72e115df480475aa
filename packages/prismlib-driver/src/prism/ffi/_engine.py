"""What both drivers share: connecting, reading, asking and writing, with plain blocking calls."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chorus_fabric import (
    ChorusError,
    FabricConfigurationError,
    FeedPosition,
    ServiceClient,
    ServiceUnavailableError,
)
from chorus_fabric.v1 import wrapper_pb2 as pb
from prism.ffi._arguments import as_json, plain_where
from prism.ffi._call_errors import contact_error, error_of_call
from prism.ffi._feed import Feed
from prism.ffi._row import Row, RowMatch
from prism.ffi._row_block import RowValues
from prism.ffi._snapshot_file import snapshot_tenant
from prism.ffi._status import DriverStatus
from prism.ffi._table import PROJECTED_DIM
from prism.ffi._texts import TextEmbedder
from prism.ffi._waiters import parse_event_id
from prism.ffi.errors import (
    DriverClosedError,
    DriverConfigurationError,
    NotSeenInTimeError,
    StaleReplicaError,
    UnknownTableError,
    WrapperUnavailableError,
)
from prismresonance import InvalidArgumentError, InvalidVectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from chorus_fabric import ClientConfig
    from prism.ffi._config import DriverConfig
    from prism.ffi._notices import Callback
    from prism.ffi._replica import Replica
    from prism.ffi._table import TableReplica

__all__ = ["Engine"]

_log = logging.getLogger("prism.ffi")

_QUERY_TIMEOUT_S = 10.0
_MOST_TOP_K = 1000
_LONG_ROWS = 300_000
_LONG_FILTERED_ROWS = 5_000
_ALWAYS = float("inf")


class Engine:
    """The driver without its face.

    Args:
        config: Settings.
    """

    def __init__(self, config: DriverConfig) -> None:
        self._config = config
        self._texts = TextEmbedder(config.embedder)
        self._feed: Feed | None = None
        self._open_feed: Feed | None = None  # the feed, while it is connected and not closed
        self._calls: ServiceClient | None = None
        self._is_closed = False
        self._where = config.client().address

    def connect(self) -> None:
        """Make the first contact, and begin to follow.

        Raises:
            WrapperUnavailableError: The wrapper cannot be reached, and no snapshot stands in.
            DriverConfigurationError: It refuses this driver, or is another than was meant.
        """
        if self._feed is not None or self._is_closed:
            raise DriverClosedError("a driver is connected once: make another")
        try:
            client = self._first_contact()
            feed = Feed(self._config, client=client)
            feed.start()
        except FabricConfigurationError as error:
            self.close()
            raise DriverConfigurationError(str(error)) from error
        except BaseException:
            self.close()
            raise
        self._feed = self._open_feed = feed

    @property
    def port(self) -> int | None:
        """Where the driver listens; `None` if it does not, or not yet."""
        return None if self._feed is None else self._feed.port

    def ready(self) -> Future[None]:
        """Give a future that is done when the replica is whole."""
        return self.feed.ready

    def check_ready(self, *, is_ready: bool) -> None:
        """Raise if the replica did not become whole in time.

        Raises:
            WrapperUnavailableError: So it is.
        """
        if is_ready:
            return
        feed = self.feed
        why = f"; last: {feed.last_error}" if feed.last_error is not None else ""
        raise WrapperUnavailableError(
            f"the replica from {self._where} was not whole after {self._config.ready_timeout_s:g} "
            f"s, {feed.building_rows:,} rows have come{why}; raise ready_timeout_s if it is large"
        )

    def close(self) -> None:
        """End everything; the snapshot is written."""
        self._is_closed = True
        self._open_feed = None
        if self._feed is not None:
            self._feed.close()
        if self._calls is not None:
            self._calls.close()

    @property
    def feed(self) -> Feed:
        """The feed.

        Raises:
            DriverClosedError: The driver is not connected.
        """
        if self._feed is None or self._is_closed:
            raise DriverClosedError(
                "the driver is closed"
                if self._is_closed
                else "connect first: `async with PrismDriver(config) as driver:`"
            )
        return self._feed

    def get(self, row_id: str, table: str | None = None) -> Row | None:
        """Read a row by its id."""
        feed = self._open_feed
        if feed is None:
            feed = self.feed
        # Asking for the time takes as long as the look-up.
        if feed.fresh_until != _ALWAYS and time.monotonic() > feed.fresh_until:
            raise self._stale(feed)
        if table is None:
            rows = feed.shown.sole
            if rows is not None:
                return rows.get(row_id)
            return self._get_from_any(feed.shown, row_id)
        return feed.shown.table(table).rows.get(row_id)

    def embed(self, text: str, table: str | None) -> npt.NDArray[np.float32]:
        """Give the vector of a text, by the model of the rows."""
        return self._texts.embed(text, self._model_of(self._tables(table)))

    def is_long(self, *, embedding: npt.NDArray[np.float32], where: object) -> bool:
        """Say whether a query may take more than a millisecond or so."""
        shown = self.feed.shown
        rows = len(shown)
        first = any(table.prepare(len(embedding)) for table in shown.tables.values())
        return first or rows > (_LONG_ROWS if where is None else _LONG_FILTERED_ROWS)

    def is_stale(self) -> bool:
        """Say whether a query has to go to the wrapper.

        Raises:
            StaleReplicaError: The replica is older than allowed, and not the wrapper but the user
                is to know.
        """
        feed = self.feed
        if time.monotonic() <= feed.fresh_until:
            return False
        if self._config.on_stale == "raise":
            raise self._stale(feed)
        return True

    def query(
        self,
        vector: npt.NDArray[np.float32],
        *,
        top_k: int,
        threshold: float | None,
        table: str | None,
        where: Mapping[str, object] | None,
    ) -> list[RowMatch]:
        """Search the replica."""
        tables = self._tables(table)
        for one in tables:
            self._check_width(one, len(vector))
        try:
            found = [
                match
                for one in tables
                for match in one.query(vector, top_k=top_k, threshold=threshold, where=where)
            ]
        except InvalidVectorError as error:
            raise DriverConfigurationError(f"embedding: {error}") from error
        except InvalidArgumentError as error:
            raise DriverConfigurationError(str(error)) from error
        if len(tables) > 1:
            found.sort(key=lambda match: -match.score)
        return found[:top_k]

    def ask(
        self,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        *,
        top_k: int,
        threshold: float | None,
        table: str | None,
        where: Mapping[str, object] | None,
    ) -> list[RowMatch]:
        """Have the wrapper search."""
        body = pb.QueryBody(
            embedding=b"" if vector is None else vector.astype("<f4").tobytes(),
            text=text or "",
            top_k=min(top_k, _MOST_TOP_K),
            threshold=threshold,
            table=table or self._config.default_table or "",
            where=b"" if not where else as_json(plain_where(where)),
        )
        try:
            reply = self._service().query(body, timeout_s=_QUERY_TIMEOUT_S)
        except ChorusError as error:
            raise error_of_call(error, self._where) from error
        return [
            RowMatch(
                match.row_id,
                match.score,
                match.text,
                match.table,
                Row(
                    RowValues(
                        row_id=match.row_id,
                        table=match.table,
                        text_repr=match.text,
                        seq=reply.position.seq,
                        number=-1,
                        encoded=match.columns,
                    )
                ),
            )
            for match in reply.matches
        ]

    def write(
        self,
        *,
        row_id: str,
        data: Mapping[str, object],
        table: str | None,
        wait_s: float,
        timeout_s: float,
    ) -> tuple[str, str, FeedPosition | None]:
        """Have the wrapper write; gives event, row id, and the position if it is known."""
        body = pb.WriteBody(
            table=table or self._config.default_table or "",
            row_id=row_id,
            values=as_json(data),
            wait_ms=int(wait_s * 1000),
        )
        try:
            done = self._service().write(body, timeout_s=timeout_s)
        except ChorusError as error:
            raise error_of_call(error, self._where, is_write=True) from error
        position = None
        if done.HasField("position"):
            position = FeedPosition(done.position.epoch, done.position.seq)
        return done.event_id, done.row_id, position

    def until(self, event_id: str) -> Future[None]:
        """Give a future that is done when the replica has come to an event."""
        return self.feed.waiters.until(parse_event_id(event_id))

    def until_position(self, position: FeedPosition) -> Future[None]:
        """Give a future that is done when the replica has come to a position."""
        return self.feed.waiters.until(position)

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Call back on changes."""
        return self.feed.notices.add(callback)

    def status(self) -> DriverStatus:
        """Tell how the driver stands."""
        feed = self.feed
        shown, position, welcome = feed.shown, feed.position, feed.welcome
        same = feed.head_epoch == position.epoch
        return DriverStatus(
            is_connected=feed.is_connected,
            is_ready=feed.ready.done(),
            is_building=feed.is_building,
            building_rows=feed.building_rows,
            rows=len(shown),
            tables={t.schema.full_name: len(t.rows) for t in shown.tables.values()},
            epoch=position.epoch,
            seq=position.seq,
            head=feed.head,
            lag_rows=max(0, feed.head - position.seq) if same else feed.head,
            lag_s=feed.freshness.lag_s(time.monotonic()),
            wrapper=self._where,
            wrapper_version="" if welcome is None else welcome.version,
            tenant_id="" if welcome is None else welcome.tenant_id,
            model_id=self._model(shown),
            is_sealed=welcome is not None and welcome.is_sealed,
            reconnects=feed.reconnects,
            last_error="" if feed.last_error is None else str(feed.last_error),
            missed_changes=feed.notices.missed,
        )

    def late(self, event_id: str, timeout_s: float) -> NotSeenInTimeError:
        """Give the error for an event that did not come in time."""
        return NotSeenInTimeError(
            f"event {event_id} is not in the replica after {timeout_s:g} s: it stands, and comes "
            "when the feed does; see status(), or wait longer",
            event_id=event_id,
        )

    def _first_contact(self) -> ClientConfig:
        config = self._config
        client = config.client()
        if config.wrapper_host is None:
            return replace(client, tenant_id=client.known_tenant())
        self._calls = ServiceClient(client)
        try:
            welcome = self._calls.hello()
        except ChorusError as error:
            tenant_id = client.known_tenant()
            path = config.snapshot_path
            if isinstance(error, ServiceUnavailableError) and path is not None:
                found = snapshot_tenant(Path(path))
                if found is not None and tenant_id in (None, found):
                    _log.warning("starting from the snapshot alone: %s", error)
                    return replace(client, tenant_id=found)
            raise contact_error(error, self._where) from error
        self._texts.check(welcome.model_id)
        return replace(client, tenant_id=welcome.tenant_id)

    def _service(self) -> ServiceClient:
        self.feed  # noqa: B018  raises if the driver is closed
        if self._calls is None:
            raise DriverConfigurationError(
                "a driver that listens cannot call the wrapper: set wrapper_host instead of "
                "listen_port to write"
            )
        return self._calls

    def _tables(self, name: str | None) -> list[TableReplica]:
        shown = self.feed.shown
        if name is not None:
            return [shown.table(name)]
        return list(shown.tables.values())

    def _get_from_any(self, shown: Replica, row_id: str) -> Row | None:
        if self._config.default_table is not None:
            return shown.table(self._config.default_table).rows.get(row_id)
        found = [row for t in shown.tables.values() if (row := t.rows.get(row_id)) is not None]
        if len(found) > 1:
            tables = ", ".join(sorted(row.table for row in found))
            raise UnknownTableError(
                f"row {row_id!r} is in {tables}: pass table=, or set default_table"
            )
        return found[0] if found else None

    def _check_width(self, table: TableReplica, width: int) -> None:
        own = table.width
        if not own or width in (own, PROJECTED_DIM):
            return
        welcome = self.feed.welcome
        dim = 0 if welcome is None or welcome.wire != "projected" else welcome.dim
        if dim == width and own == PROJECTED_DIM:
            return
        model = f" ({table.schema.model_id})" if table.schema.model_id else ""
        raise DriverConfigurationError(
            f"embedding has {width} components, the rows of {table.schema.full_name!r} have "
            f"{dim or own}{model}: embed with the same model, or pass {PROJECTED_DIM} projected"
        )

    def _model_of(self, tables: list[TableReplica]) -> str:
        models = {table.schema.model_id for table in tables}
        if len(models) > 1:
            raise UnknownTableError("tables have vectors of different models: pass table=")
        welcome = self.feed.welcome
        return next(iter(models), "") or ("" if welcome is None else welcome.model_id)

    def _model(self, shown: Replica) -> str:
        models = {table.schema.model_id for table in shown.tables.values()} - {""}
        if len(models) == 1:
            return next(iter(models))
        welcome = self.feed.welcome
        return "" if welcome is None else welcome.model_id

    def _stale(self, feed: Feed) -> StaleReplicaError:
        most = self._config.max_lag_s or 0.0
        lag_s = feed.freshness.lag_s(time.monotonic())
        age = "of unknown age" if lag_s is None else f"{lag_s:.1f} s old"
        why = f" ({feed.last_error})" if feed.last_error and not feed.is_connected else ""
        return StaleReplicaError(
            f"the replica is {age}, and max_lag_s is {most:g}{why}: retry, or raise max_lag_s",
            lag_s=lag_s,
            max_lag_s=most,
        )
