"""GTIDs of both dialects: which transactions are done. Pure.

MySQL numbers the transactions of each server: what is done is a set of intervals for each UUID.
MariaDB numbers those of each domain: what is done is the last one of each domain.

Source: MySQL manual, "GTID Sets"; MariaDB knowledge base, "Global Transaction ID".
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Mapping
from typing import Final

from prism.wrapper.sources.mysql._binlog import Gtid

__all__ = ["GtidSet", "MariaDBState", "MySQLSet"]

_MARIADB: Final = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")
_INTERVAL: Final = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")


class MariaDBState:
    """The last transaction of each domain: domain to (server, number). Immutable."""

    __slots__ = ("_last", "_text")

    def __init__(self, last: Mapping[int, tuple[int, int]]) -> None:
        self._last = dict(last)
        self._text = ",".join(f"{d}-{s}-{n}" for d, (s, n) in sorted(self._last.items()))

    @classmethod
    def parse(cls, text: str) -> MariaDBState:
        """Read such as `0-11-61,1-2-5`.

        Raises:
            ValueError: It is not a state.
        """
        last: dict[int, tuple[int, int]] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            match = _MARIADB.fullmatch(item)
            if match is None or int(match[1]) in last:
                raise ValueError(f"not a GTID state of MariaDB: {text!r}")
            last[int(match[1])] = (int(match[2]), int(match[3]))
        return cls(last)

    def added(self, gtid: Gtid) -> MariaDBState:
        """The state after a transaction."""
        domain, _, server = gtid.source.partition("-")
        return MariaDBState({**self._last, int(domain): (int(server), gtid.number)})

    def holds(self, gtid: Gtid) -> bool:
        """Whether a transaction is done, judged by its number in its domain."""
        domain = int(gtid.source.partition("-")[0])
        return domain in self._last and self._last[domain][1] >= gtid.number

    def is_within(self, other: MariaDBState) -> bool:
        """Whether the other is as far, in every domain."""
        return all(
            domain in other._last and other._last[domain][1] >= number
            for domain, (_, number) in self._last.items()
        )

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MariaDBState) and other._last == self._last

    def __hash__(self) -> int:
        return hash(self._text)


class MySQLSet:
    """Intervals [first, last] of each server's transactions. Immutable."""

    __slots__ = ("_done",)

    def __init__(self, done: Mapping[str, tuple[tuple[int, int], ...]]) -> None:
        self._done = {source: _merged(spans) for source, spans in done.items() if spans}

    @classmethod
    def parse(cls, text: str) -> MySQLSet:
        """Read such as `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7`.

        Raises:
            ValueError: It is not a set; sets with tags (MySQL 8.3) are not known either.
        """
        done: dict[str, tuple[tuple[int, int], ...]] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            source, *intervals = (part.strip() for part in item.split(":"))
            try:
                source = str(uuid.UUID(source))
            except ValueError:
                raise ValueError(f"not a GTID set of MySQL: {text!r}") from None
            spans = []
            for interval in intervals:
                match = _INTERVAL.fullmatch(interval)
                if match is None:
                    raise ValueError(
                        f"not a GTID set of MySQL: {text!r}; tags are not known to this version"
                    )
                first, last = int(match[1]), int(match[2] or match[1])
                if not 0 < first <= last:
                    raise ValueError(f"not a GTID set of MySQL: {text!r}")
                spans.append((first, last))
            done[source] = (*done.get(source, ()), *spans)
        return cls(done)

    def added(self, gtid: Gtid) -> MySQLSet:
        """The set with a transaction more."""
        spans = self._done.get(gtid.source, ())
        return MySQLSet({**self._done, gtid.source: (*spans, (gtid.number, gtid.number))})

    def holds(self, gtid: Gtid) -> bool:
        """Whether a transaction is in the set."""
        return any(first <= gtid.number <= last for first, last in self._done.get(gtid.source, ()))

    def is_within(self, other: MySQLSet) -> bool:
        """Whether the other has all of these."""
        return all(
            any(low <= first and last <= high for low, high in other._done.get(source, ()))
            for source, spans in self._done.items()
            for first, last in spans
        )

    def encoded(self) -> bytes:
        """As COM_BINLOG_DUMP_GTID takes it: intervals there end before their second number."""
        parts = [struct.pack("<Q", len(self._done))]
        for source, spans in sorted(self._done.items()):
            parts.append(uuid.UUID(source).bytes + struct.pack("<Q", len(spans)))
            parts += [struct.pack("<QQ", first, last + 1) for first, last in spans]
        return b"".join(parts)

    def __str__(self) -> str:
        return ",".join(
            ":".join(
                (source, *(f"{a}-{b}" if a != b else str(a) for a, b in spans)),
            )
            for source, spans in sorted(self._done.items())
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MySQLSet) and other._done == self._done

    def __hash__(self) -> int:
        return hash(str(self))


GtidSet = MariaDBState | MySQLSet


def _merged(spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)
