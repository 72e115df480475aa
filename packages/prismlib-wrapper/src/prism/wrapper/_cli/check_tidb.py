"""What `prism-wrapper check` finds of a TiDB."""

from __future__ import annotations

from collections.abc import Iterator

from prism.wrapper._cli.finding import Finding, problem
from prism.wrapper._config import WrapperConfig
from prism.wrapper._open_tidb import tidb_settings
from prism.wrapper.errors import WrapperError
from prism.wrapper.sources.tidb._check import findings

__all__ = ["tidb_findings"]


def tidb_findings(config: WrapperConfig) -> Iterator[Finding]:
    """Look at the database and at the port that changes are pushed to."""
    try:
        settings = tidb_settings(config)
    except WrapperError as error:
        yield problem("push", error)
        return
    for verdict, about, text, remedy in findings(settings):
        yield Finding(about=about, verdict=verdict, text=text, remedy=remedy)
