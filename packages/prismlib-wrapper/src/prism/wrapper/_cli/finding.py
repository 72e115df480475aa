"""One thing that `prism-wrapper check` looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from prism.wrapper.errors import WrapperError
from prism.wrapper.sources import _findings
from prism.wrapper.sources.errors import SourceAccessError, SourceError, TableRefusedError

__all__ = ["CONNECT_S", "Finding", "Verdict", "of_source", "over", "problem"]

CONNECT_S: Final = 10.0
"""How long a look waits for a database to answer."""

Verdict: TypeAlias = Literal["ok", "note", "missing"]
_VERDICTS: Final[dict[_findings.Verdict, Verdict]] = {
    _findings.Verdict.OK: "ok",
    _findings.Verdict.WARNING: "note",
    _findings.Verdict.PROBLEM: "missing",
}


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


def of_source(found: _findings.Finding) -> Finding:
    """What a source's own look found, as the command tells it."""
    return Finding(
        about=found.subject,
        verdict=_VERDICTS[found.verdict],
        text=found.message,
        statements=found.remedy,
    )


class _Closable(Protocol):
    def close(self) -> None: ...


_Session = TypeVar("_Session", bound=_Closable)


def over(
    connect: Callable[[], _Session], look: Callable[[_Session], Iterator[Finding]]
) -> Iterator[Finding]:
    """What `look` finds over a connection of its own. That it fails is a finding too."""
    try:
        session = connect()
    except SourceError as error:
        yield problem("database", error)
        return
    try:
        yield from look(session)
    except SourceError as error:
        yield problem("database", error)
    finally:
        session.close()
