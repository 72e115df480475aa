"""Places in a server's log, and whether the stream can go on from one. Pure.

A position is the GTID state of all that was told, the file and offset where that stood, and a
digest of the tables followed. GTIDs are what the server is asked for. File and offset tell a log
apart that was begun anew and has come by the same numbers (`RESET MASTER`): MariaDB's GTIDs do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from prism.wrapper.sources.mysql._gtid import GtidSet, MariaDBState, MySQLSet

__all__ = ["LogFacts", "Position", "obstacle"]

_POSITION: Final = re.compile(
    r"(mysql|mariadb)/([0-9a-f:,-]*)/([^/\s]{0,512}):(\d{1,20})/([0-9a-f]{12})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the log."""

    done: GtidSet
    file: str
    offset: int
    tables: str

    def __str__(self) -> str:
        dialect = "mariadb" if isinstance(self.done, MariaDBState) else "mysql"
        return f"{dialect}/{self.done}/{self.file}:{self.offset}/{self.tables}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            ValueError: It is not a position of MySQL or MariaDB.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError(f"not a position of a MySQL or MariaDB source: {text!r}")
        done: GtidSet
        done = MariaDBState.parse(match[2]) if match[1] == "mariadb" else MySQLSet.parse(match[2])
        return cls(done=done, file=match[3], offset=int(match[4]), tables=match[5])


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What the server says of its log.

    Attributes:
        done: GTIDs that it has executed.
        purged: MySQL: those that its log does not hold any more.
        there: MariaDB: the state at the position's file and offset; None if that is not there.
    """

    done: GtidSet
    purged: MySQLSet | None = None
    there: MariaDBState | None = None


def obstacle(resume: Position, facts: LogFacts, tables: str) -> str | None:
    """Say why the stream cannot go on from a position, or return None if it can, as far as known.

    What MariaDB has purged only the server knows: it refuses when it is asked for it.
    """
    if resume.tables != tables:
        return "the set of tables, or a key, is another one"
    if isinstance(resume.done, MySQLSet):
        if not isinstance(facts.done, MySQLSet):
            return "the server speaks another dialect: it was MySQL"
        if not resume.done.is_within(facts.done):
            return "the server does not have all that we have: it went back in time, or is another"
        if facts.purged is not None and not facts.purged.is_within(resume.done):
            return "the server has purged binary logs that we had not read"
        return None
    if not isinstance(facts.done, MariaDBState):
        return "the server speaks another dialect: it was MariaDB"
    if not resume.done.is_within(facts.done):
        return "the server's log ends before our position: it was begun anew, or is another"
    if facts.there is not None and facts.there != resume.done:
        return "the server's log has another history at our position"
    return None
