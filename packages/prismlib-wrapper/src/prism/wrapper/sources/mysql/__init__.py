"""MySQL and MariaDB as a source: a snapshot, then the binary log.

Needs MariaDB 10.5 or MySQL 8.0.14 with `binlog_format = ROW`, `binlog_row_image = FULL` and
`binlog_row_metadata = FULL`; MySQL also `gtid_mode = ON`. See `docs/how-to/mysql.md`.
"""

from __future__ import annotations

from prism.wrapper.sources.mysql._check import (
    Finding,
    ServerFacts,
    Verdict,
    check,
    findings,
    gather,
)
from prism.wrapper.sources.mysql._position import Position
from prism.wrapper.sources.mysql._settings import MySQLSettings
from prism.wrapper.sources.mysql._source import MySQLSource

__all__ = [
    "Finding",
    "MySQLSettings",
    "MySQLSource",
    "Position",
    "ServerFacts",
    "Verdict",
    "check",
    "findings",
    "gather",
]
