"""Where rows come from: a database as a stream of events.

`Source` is the contract, `prism.wrapper.sources.conformance` holds an implementation to it.
"""

from __future__ import annotations

from prism.wrapper.sources._batch import RowBatch, TextValues
from prism.wrapper.sources._cast import JSONValue, cast
from prism.wrapper.sources._events import (
    Changes,
    Committed,
    SchemaChanged,
    SnapshotDone,
    SnapshotRows,
    SnapshotStarted,
    SourceEvent,
)
from prism.wrapper.sources._protocol import Phase, Source, SourceStatus
from prism.wrapper.sources._types import (
    UNCHANGED,
    Change,
    Column,
    ColumnKind,
    Op,
    TableId,
    TableSchema,
    Unchanged,
    Value,
)
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceBusyError,
    SourceClosedError,
    SourceConfigurationError,
    SourceError,
    SourceProtocolError,
    SourceUnavailableError,
    TableRefusedError,
)

__all__ = [
    "UNCHANGED",
    "Change",
    "Changes",
    "Column",
    "ColumnKind",
    "Committed",
    "JSONValue",
    "Op",
    "Phase",
    "RowBatch",
    "SchemaChanged",
    "SnapshotDone",
    "SnapshotRows",
    "SnapshotStarted",
    "Source",
    "SourceAccessError",
    "SourceBusyError",
    "SourceClosedError",
    "SourceConfigurationError",
    "SourceError",
    "SourceEvent",
    "SourceProtocolError",
    "SourceStatus",
    "SourceUnavailableError",
    "TableId",
    "TableRefusedError",
    "TableSchema",
    "TextValues",
    "Unchanged",
    "Value",
    "cast",
]
