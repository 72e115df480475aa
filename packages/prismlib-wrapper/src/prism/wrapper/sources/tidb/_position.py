"""Places in what TiCDC pushed. Pure.

TiCDC keeps no log that we could go back in: once a batch is acknowledged, the push spool has the
only copy. So a position names the spool. If that is another one, what lay between is lost and only
a new snapshot helps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["Position"]

_POSITION: Final = re.compile(r"tidb/([0-9a-f]{16})/(\d{1,20})/([0-9a-f]{12})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """All that was committed before `ts` was told."""

    spool: str
    ts: int
    tables: str

    def __str__(self) -> str:
        return f"tidb/{self.spool}/{self.ts}/{self.tables}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            ValueError: It is not a position of TiDB.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError(f"not a position of a TiDB source: {text!r}")
        return cls(spool=match[1], ts=int(match[2]), tables=match[3])
