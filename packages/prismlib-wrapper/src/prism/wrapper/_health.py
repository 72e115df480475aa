"""How the wrapper is, for `Health`, for the status file, and for those who decide by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from chorus_fabric import HealthReport
from prism.wrapper._changelog import ChangeLog
from prism.wrapper._pipeline.keeper import Keeper
from prism.wrapper._pipeline.rebuild import Rebuild
from prism.wrapper._status import Report
from prism.wrapper._vectorizer import RowVectorizer
from prism.wrapper.sources import Phase, Source, SourceStatus

__all__ = ["WrapperHealth"]

# Asking the source may ask the database.
_SOURCE_ASKED_EVERY_S = 0.5
# A source that does not answer for so long cannot be called connected.
_SOURCE_SILENT_S = 2.5
_SHOWN_FAULTS = 20


class WrapperHealth:
    """Answers from what the parts tell; a `HealthHandler`. Safe for threads."""

    def __init__(
        self,
        *,
        log: ChangeLog,
        source: Source,
        keeper: Keeper,
        vectorizer: RowVectorizer,
        rebuild: Callable[[], Rebuild | None],
        version: str,
    ) -> None:
        self._log = log
        self._source = source
        self._keeper = keeper
        self._vectorizer = vectorizer
        self._rebuild = rebuild
        self._version = version
        self._told_at = float("-inf")
        self._told = SourceStatus(phase=Phase.WAITING, connected=False)

    def keep_asking(self, pause: Callable[[float], bool]) -> None:
        """Ask the source how it is, until `pause` says to stop. In a thread: it may have to wait.

        Args:
            pause: Waits some seconds; whether to go on.
        """
        while True:
            self._told = self._source.status()
            self._told_at = time.monotonic()
            if not pause(_SOURCE_ASKED_EVERY_S):
                return

    def source_status(self) -> SourceStatus:
        """What the source said last; not connected, if that is too long ago. Never waits."""
        told = self._told
        if told.connected and time.monotonic() - self._told_at > _SOURCE_SILENT_S:
            return replace(told, connected=False, last_error="the database does not answer")
        return told

    def state(self) -> str:
        """One word: disk-full, embedder-away, snapshot, rebuilding, streaming or waiting."""
        if self._keeper.problem is not None:
            return "disk-full"
        if self._vectorizer.last_error is not None:
            return "embedder-away"
        source = self.source_status()
        if source.phase is Phase.SNAPSHOT:
            return "snapshot"
        if source.phase is Phase.STREAM and source.connected:
            return "streaming" if self._rebuild() is None else "rebuilding"
        return "waiting"

    def health(self) -> HealthReport:
        """Answer a client: without table names, row identities or errors in detail."""
        source, state = self.source_status(), self._log.state
        return HealthReport(
            is_serving=state.served.complete,
            state=self.state(),
            details={
                "version": self._version,
                "model_id": self._vectorizer.model_id,
                "epoch": state.current,
                "head": state.served.head,
                "source_connected": source.connected,
                "source_lag_s": source.lag_s,
                "source_lag_bytes": source.lag_bytes,
                "snapshot_rows": source.snapshot_rows,
                "snapshot_total_estimate": source.snapshot_total_estimate,
            },
        )

    def report(self, *, port: int | None, subscribers: int, started_at: float) -> Report:
        """All of it, for whoever may read the status file."""
        source, log = self.source_status(), self._log.status()
        rebuild = self._rebuild()
        names = {schema.stream: schema.full_name for schema in self._log.schemas()}
        return {
            "state": self.state(),
            "problem": self._keeper.problem or self._vectorizer.last_error,
            "version": self._version,
            "uptime_s": round(time.time() - started_at, 1),
            "port": port,
            "subscribers": subscribers,
            "model_id": self._vectorizer.model_id,
            "source": {
                "phase": source.phase.value,
                "connected": source.connected,
                "slot": source.slot,
                "wal_status": source.wal_status,
                "retained_bytes": source.retained_bytes,
                "lag_bytes": source.lag_bytes,
                "lag_s": source.lag_s,
                "confirmed": source.confirmed,
                "reconnects": source.reconnects,
                "snapshot_rows": source.snapshot_rows,
                "snapshot_total_estimate": source.snapshot_total_estimate,
                "last_error": source.last_error,
            },
            "log": {
                "epoch": log.epoch,
                "complete": log.complete,
                "head": log.head,
                "floor": log.floor,
                "position": log.position,
                "committed_ns": log.committed_ns,
                "size_bytes": log.size_bytes,
                "source_age_s": self._log.source_age_s(),
            },
            "rebuild": None if rebuild is None else {"rows": rebuild.rows},
            "rows_written": self._keeper.rows,
            "tables": list(names.values()),
            "quarantined": log.quarantined,
            "quarantine": [
                {"table": names.get(stream, str(stream)), "row_id": row_id, "error": error}
                for (stream, row_id), error in self._log.quarantine(limit=_SHOWN_FAULTS)
            ],
        }
