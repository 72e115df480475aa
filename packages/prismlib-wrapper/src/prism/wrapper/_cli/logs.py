"""Log lines for operators: one event a line, time and level in front, never the DSN."""

from __future__ import annotations

import logging
import sys
import time
from urllib.parse import unquote

from prism.wrapper._config import Secret

__all__ = ["configure_logs"]

_OURS = ("prism", "chorus_fabric", "prismresonance")


class _Line(logging.Formatter):
    """`2026-03-01T12:00:00Z info wrapper.feed: the snapshot is complete: 2000 rows`."""

    def __init__(self, hidden: tuple[str, ...]) -> None:
        super().__init__("%(asctime)s %(level)s %(part)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self._hidden = hidden
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        record.part = record.name.removeprefix("prism.")
        line = super().format(record)
        for secret in self._hidden:
            line = line.replace(secret, "***")
        # One event, one line, whatever stands in a message.
        return line.replace("\n", "\n    ")


def configure_logs(*, verbose: bool, secret: Secret | None) -> None:
    """Write our log lines to standard error.

    Args:
        verbose: Also what helps to find a fault.
        secret: A DSN; neither it nor the password in it is ever written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(_hidden(secret)))
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG if verbose else logging.INFO)


def _hidden(secret: Secret | None) -> tuple[str, ...]:
    if secret is None:
        return ()
    dsn = secret.reveal()
    hidden = [dsn]
    authority = dsn.partition("://")[2].rpartition("@")[0]
    if ":" in authority:
        hidden.append(authority.partition(":")[2])
    hidden += [
        part.partition("=")[2].strip("'") for part in dsn.split() if part.startswith("password=")
    ]
    hidden += [unquote(text) for text in hidden]
    return tuple(sorted({text for text in hidden if text}, key=len, reverse=True))
