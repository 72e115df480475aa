"""What `prism-wrapper check` finds of a TiDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from prism.wrapper._config import WrapperConfig
from prism.wrapper._open_tidb import tidb_settings
from prism.wrapper.errors import WrapperError
from prism.wrapper.sources.tidb._check import findings

__all__ = ["tidb_findings"]

_Verdict: TypeAlias = Literal["ok", "note", "missing"]


def tidb_findings(config: WrapperConfig) -> Iterator[tuple[_Verdict, str, str, str]]:
    """Verdict, what about, finding and remedy of each thing looked at."""
    try:
        settings = tidb_settings(config)
    except WrapperError as error:
        yield "missing", "push", str(error), ""
        return
    yield from findings(settings)
