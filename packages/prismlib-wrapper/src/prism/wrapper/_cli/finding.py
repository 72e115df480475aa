"""One thing that `prism-wrapper check` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from prism.wrapper.errors import WrapperError
from prism.wrapper.sources.errors import SourceAccessError, TableRefusedError

__all__ = ["Finding", "Verdict", "problem"]

Verdict: TypeAlias = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: What.
        verdict: `ok`; `note`, which a run survives; or `missing`, which it does not.
        text: What was found.
        remedy: What to do in words, if anything.
        statements: What the database's owner runs for it, as SQL.
    """

    about: str
    verdict: Verdict
    text: str
    remedy: str = ""
    statements: str = ""


def problem(about: str, error: WrapperError) -> Finding:
    """What an error says, with its statements apart."""
    statements = ""
    text = str(error)
    if isinstance(error, (SourceAccessError, TableRefusedError)):
        statements = error.remedy
        text = text.removesuffix(f"\n{error.remedy}") if error.remedy else text
    return Finding(about=about, verdict="missing", text=text, statements=statements)
