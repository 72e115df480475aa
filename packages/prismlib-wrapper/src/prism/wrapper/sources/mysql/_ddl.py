"""What a statement of the log does to the tables we follow. Pure.

Rows are logged as rows. A statement is logged for what is not about single rows, and it stands at
its place between them: so what ALTER TABLE did is judged by its words, not by the catalogue, which
may be ahead. Words that are not known to be harmless make a new snapshot: too many snapshots are a
nuisance, a wrong row is worse.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

__all__ = ["Effect", "Statement", "effect_of", "words_of"]


class Statement(enum.Enum):
    """What a statement is to us."""

    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    ROLLBACK_TO = "rollback to"
    XA = "xa"
    HARMLESS = "harmless"  # no row of ours is another
    TRUNCATE = "truncate"  # the tables are empty
    STALE = "stale"  # rows of ours may be others


class Effect(NamedTuple):
    """A statement, and the tables of ours that it is about."""

    statement: Statement
    tables: tuple[tuple[str, str], ...] = ()
    why: str = ""


_TOKEN: Final = re.compile(
    r"""
    /\*(?![!M]).*?(?:\*/|\Z) | --[ \t\r\n].*?(?:\n|\Z) | \#.*?(?:\n|\Z)  # comments
    | /\*M?!\d* | \*/                                                    # code in comments
    | `(?P<quoted>(?:[^`]|``)*)`
    | (?P<text>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<word>[\w$@\u0080-\U0010ffff]+)
    | (?P<mark>[(),.;=])
    """,
    re.VERBOSE | re.DOTALL,
)
_TRANSACTION: Final = {
    "BEGIN": Statement.BEGIN,
    "COMMIT": Statement.COMMIT,
    "SAVEPOINT": Statement.SAVEPOINT,
    "RELEASE": Statement.SAVEPOINT,
    "XA": Statement.XA,
}
_NO_ROWS: Final = frozenset(
    "GRANT REVOKE ANALYZE OPTIMIZE REPAIR CHECK FLUSH SET USE KILL INSTALL UNINSTALL DO".split()
)
# CREATE and DROP of these change no row; neither do their ALTERs.
_NO_TABLES: Final = frozenset(
    "VIEW TRIGGER FUNCTION PROCEDURE EVENT USER ROLE INDEX SERVER PACKAGE SEQUENCE".split()
)
_INDEXES: Final = frozenset("INDEX KEY FULLTEXT SPATIAL CONSTRAINT FOREIGN CHECK UNIQUE".split())
_OPTIONS: Final = frozenset(
    "ALGORITHM LOCK COMMENT AUTO_INCREMENT ROW_FORMAT ENABLE DISABLE FORCE STATS_PERSISTENT "
    "STATS_AUTO_RECALC STATS_SAMPLE_PAGES NOWAIT WAIT PAGE_CHECKSUM AVG_ROW_LENGTH MAX_ROWS "
    "MIN_ROWS KEY_BLOCK_SIZE".split()
)
# In a new column's definition: it may have values from the start.
_FILLED: Final = frozenset(
    "DEFAULT NOT AS GENERATED AUTO_INCREMENT PRIMARY KEY UNIQUE SERIAL TIMESTAMP FIRST_VALUE "
    "CHECK REFERENCES".split()
)


class _Word(NamedTuple):
    text: str
    is_name: bool  # can name something: a word, or a text in quotes of names

    @property
    def upper(self) -> str:
        return self.text.upper()


def words_of(sql: str) -> list[_Word]:
    """A statement's words and marks; comments are left out, their code is not."""
    words = []
    for match in _TOKEN.finditer(sql):
        if (quoted := match["quoted"]) is not None:
            # A quoted name is no keyword: the mark keeps it from being taken for one.
            words.append(_Word("`" + quoted.replace("``", "`"), is_name=True))
        elif match["word"] is not None:
            words.append(_Word(match["word"], is_name=True))
        elif match["text"] is not None:
            # With ANSI_QUOTES these are names.
            text = match["text"]
            words.append(_Word("`" + text[1:-1].replace(text[0] * 2, text[0]), text[0] == '"'))
        elif match["mark"] is not None:
            words.append(_Word(match["mark"], is_name=False))
    return words


def effect_of(sql: str, database: str, followed: Collection[tuple[str, str]]) -> Effect:
    """Judge a statement.

    Args:
        sql: The statement.
        database: Where names without a database are.
        followed: Databases and tables that we follow.
    """
    words = words_of(sql)
    if not words:
        return Effect(Statement.HARMLESS)
    first = words[0].upper
    second = words[1].upper if len(words) > 1 else ""
    if first == "ROLLBACK":
        is_partial = any(word.upper == "TO" for word in words[1:3])
        return Effect(Statement.ROLLBACK_TO if is_partial else Statement.ROLLBACK)
    if first == "START" and second == "TRANSACTION":
        return Effect(Statement.BEGIN)
    if first in _TRANSACTION:
        return Effect(_TRANSACTION[first])
    if first in _NO_ROWS:
        return Effect(Statement.HARMLESS)
    if second in ("DATABASE", "SCHEMA"):
        name = _plain(words[-1].text)
        ours = tuple(table for table in followed if table[0].lower() == name.lower())
        if first == "DROP" and ours:
            return Effect(Statement.STALE, ours, f"database {name} was dropped")
        return Effect(Statement.HARMLESS)
    named = _named(words, database, followed)
    if not named:
        return Effect(Statement.HARMLESS)
    return _on_ours(words, named, database)


def _on_ours(words: Sequence[_Word], named: tuple[tuple[str, str], ...], database: str) -> Effect:
    first, second = words[0].upper, words[1].upper if len(words) > 1 else ""
    table = ".".join(named[0])
    if first == "TRUNCATE":
        target = _name_at(words, 2 if second == "TABLE" else 1, database)
        emptied = tuple(one for one in named if target is not None and _same(target, [one]))
        return Effect(Statement.TRUNCATE, emptied) if emptied else Effect(Statement.HARMLESS)
    kinds = [word.upper for word in words[1:6]]
    is_of_others = "TABLE" not in kinds and (_NO_TABLES | {"DEFINER"}) & set(kinds)
    if first in ("CREATE", "DROP", "ALTER") and is_of_others:
        return Effect(Statement.HARMLESS)
    if first == "CREATE":
        # Another table may be made like ours; ours made anew is dropped before.
        at = _after_table(words)
        target = _name_at(words, at, database)
        if target is not None and not _same(target, named):
            return Effect(Statement.HARMLESS)
        if "IF" in (word.upper for word in words[: at + 1]):
            return Effect(Statement.HARMLESS)
        return Effect(Statement.STALE, named, f"{table} was made anew")
    if first == "ALTER" and second in ("TABLE", "ONLINE"):
        return _altered(words, named, database)
    what = {"DROP": "was dropped", "RENAME": "was renamed"}.get(
        first, f"was changed by a statement that begins with {first}, without its rows in the log"
    )
    return Effect(Statement.STALE, named, f"{table} {what}")


def _altered(words: Sequence[_Word], named: tuple[tuple[str, str], ...], database: str) -> Effect:
    table = ".".join(named[0])
    stale = Effect(
        Statement.STALE, named, f"ALTER TABLE of {table} may have changed rows or the key"
    )
    at = _after_table(words)
    target = _name_at(words, at, database)
    if target is None:
        return stale
    if not _same(target, named):
        # Another table took our table's name or partition, or refers to it.
        harmful = {"RENAME", "EXCHANGE"} & {word.upper for word in words}
        return stale if harmful else Effect(Statement.HARMLESS)
    at += 3 if at + 1 < len(words) and words[at + 1].text == "." else 1
    for part in _parts(words[at:]):
        if not _is_harmless(part):
            return stale
    return Effect(Statement.HARMLESS, named)


def _after_table(words: Sequence[_Word]) -> int:
    at = next((i for i, word in enumerate(words) if word.upper == "TABLE"), 0) + 1
    while at < len(words) and words[at].upper in ("IF", "NOT", "EXISTS"):
        at += 1
    return at


def _parts(words: Sequence[_Word]) -> list[list[_Word]]:
    parts: list[list[_Word]] = [[]]
    depth = 0
    for word in words:
        depth += {"(": 1, ")": -1}.get(word.text, 0)
        if word.text == "," and depth == 0:
            parts.append([])
        elif word.text != ";":
            parts[-1].append(word)
    return parts


def _is_harmless(part: Sequence[_Word]) -> bool:
    words = [word.upper for word in part]
    if not words:
        return True
    first, rest = words[0], words[1:]
    if first in _OPTIONS:
        return True
    if first == "ENGINE":
        return "INNODB" in rest
    if first == "RENAME":
        return bool(rest) and rest[0] in ("INDEX", "KEY")
    if first == "ALTER":
        # A default, a check or the visibility: nothing that is there changes.
        return True
    if first == "DROP":
        # A key that is dropped is found out by its missing columns, or by its table map.
        return bool(rest) and rest[0] not in ("PRIMARY", "PARTITION", "SYSTEM", "PERIOD")
    if first == "ADD":
        if rest and rest[0] in _INDEXES:
            return "PRIMARY" not in rest
        return _is_empty_column(rest)
    return False


def _is_empty_column(words: Sequence[str]) -> bool:
    """Whether a column is added that is NULL in all rows."""
    words = list(words)
    if words[:1] == ["COLUMN"]:
        words = words[1:]
    if words[:3] == ["IF", "NOT", "EXISTS"]:
        words = words[3:]
    if len(words) < 2 or words[0] in ("(", "PARTITION", "PERIOD", "SYSTEM", "PRIMARY"):
        return False
    definition = words[1:]
    # DEFAULT NULL says nothing.
    joined = " ".join(definition).replace("DEFAULT NULL", "").split()
    return not _FILLED & set(joined)


def _named(
    words: Sequence[_Word], database: str, followed: Collection[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Tables of ours that the statement names, wherever it does."""
    found = []
    by_name: dict[str, list[tuple[str, str]]] = {}
    for table in followed:
        by_name.setdefault(table[1].lower(), []).append(table)
    for i, word in enumerate(words):
        if not word.is_name:
            continue
        for table in by_name.get(_plain(word.text).lower(), ()):
            is_qualified = i >= 2 and words[i - 1].text == "." and words[i - 2].is_name
            place = _plain(words[i - 2].text) if is_qualified else database
            # A column of that name is not told apart from the table: better once too often.
            if place.lower() == table[0].lower() and table not in found:
                found.append(table)
    return tuple(found)


def _name_at(words: Sequence[_Word], at: int, database: str) -> tuple[str, str] | None:
    if at >= len(words) or not words[at].is_name:
        return None
    if at + 2 < len(words) and words[at + 1].text == "." and words[at + 2].is_name:
        return _plain(words[at].text), _plain(words[at + 2].text)
    return database, _plain(words[at].text)


def _same(target: tuple[str, str], named: Collection[tuple[str, str]]) -> bool:
    lowered = (target[0].lower(), target[1].lower())
    return any((table[0].lower(), table[1].lower()) == lowered for table in named)


def _plain(text: str) -> str:
    return text.removeprefix("`")
