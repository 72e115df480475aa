"""TiDB as a source: a snapshot, then what TiCDC's messages say, which are pushed to an endpoint.

See `docs/how-to/tidb.md`.
"""

from __future__ import annotations

from prism.wrapper.sources.tidb._canal import decode_canal
from prism.wrapper.sources.tidb._messages import (
    DdlEvent,
    DdlKind,
    MessageError,
    ResolvedMark,
    RowEvent,
)
from prism.wrapper.sources.tidb._open_protocol import decode_open, frame_open
from prism.wrapper.sources.tidb._position import Position
from prism.wrapper.sources.tidb._settings import TidbSettings
from prism.wrapper.sources.tidb._source import TidbSource

__all__ = [
    "DdlEvent",
    "DdlKind",
    "MessageError",
    "Position",
    "ResolvedMark",
    "RowEvent",
    "TidbSettings",
    "TidbSource",
    "decode_canal",
    "decode_open",
    "frame_open",
]
