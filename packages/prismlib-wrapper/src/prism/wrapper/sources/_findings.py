"""What a look at a database finds, of whatever kind the database is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Finding", "Verdict"]


class Verdict(enum.Enum):
    """How a finding stands."""

    OK = "ok"
    WARNING = "warning"  # it works, and may cause trouble
    PROBLEM = "problem"  # the source cannot run


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        verdict: How it stands.
        subject: What was looked at, such as a setting of the server or a table's name.
        message: What was found.
        remedy: SQL for whoever runs the database; "" where none is needed or none helps.
    """

    verdict: Verdict
    subject: str
    message: str
    remedy: str = ""
