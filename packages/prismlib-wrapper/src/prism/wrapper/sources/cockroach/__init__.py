"""CockroachDB as a source: the rows, then the stream of a changefeed without a sink.

Needs CockroachDB 22.1 or later with `kv.rangefeed.enabled`; see `docs/how-to/cockroachdb.md`.
"""

from __future__ import annotations

from prism.wrapper.sources.cockroach._check import Finding, Verdict, check
from prism.wrapper.sources.cockroach._position import Moment, Position
from prism.wrapper.sources.cockroach._settings import CockroachSettings
from prism.wrapper.sources.cockroach._source import CockroachSource

__all__ = [
    "CockroachSettings",
    "CockroachSource",
    "Finding",
    "Moment",
    "Position",
    "Verdict",
    "check",
]
