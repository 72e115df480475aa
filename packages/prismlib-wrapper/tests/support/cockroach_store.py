"""Tables with their history, as a CockroachDB cluster keeps them: the store of `cockroach_double`.

SQLite runs the statements. What a transaction touched is read at its commit and kept as versions of
rows under one moment, so that rows can be read as they were, and changes can be told in order.
"""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from prism.wrapper.sources._cast import _array

Key = tuple[Any, ...]
Row = dict[int, Any]
Moment = tuple[int, int]

_INTEGERS = ("INT", "INTEGER", "BIGINT", "SMALLINT", "INT2", "INT4", "INT8")
_CONSTRAINTS = re.compile(
    r"\s+(PRIMARY KEY|NOT NULL|NULL|DEFAULT|UNIQUE|AS|FAMILY)\b.*", re.I | re.S
)
_NAMES = {
    "INTEGER": "INT8",
    "INT": "INT8",
    "BIGINT": "INT8",
    "SMALLINT": "INT2",
    "TEXT": "STRING",
    "DOUBLE PRECISION": "FLOAT8",
    "FLOAT": "FLOAT8",
    "REAL": "FLOAT4",
    "BOOLEAN": "BOOL",
    "BYTEA": "BYTES",
}


def written(moment: Moment) -> str:
    """A moment as changefeeds write it."""
    return f"{moment[0]}.{moment[1]:010d}"


class StoreError(Exception):
    """A refusal of the database."""

    def __init__(self, message: str, sqlstate: str = "XXUUU") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(frozen=True)
class ColumnDef:
    """A column; `number` outlives a rename."""

    number: int
    name: str
    type_name: str
    hidden: bool = False

    def text(self, stored: Any) -> str | None:
        """The value as the database's own text."""
        if stored is None:
            return None
        if self.type_name == "BOOL":
            return "true" if str(stored).lower() in ("1", "true", "t") else "false"
        match = re.fullmatch(r"DECIMAL\(\d+,\s*(\d+)\)", self.type_name)
        if match and str(stored).lower() not in ("nan", "infinity", "-infinity"):
            return f"{Decimal(str(stored)):.{match[1]}f}"
        return str(stored)

    def json(self, stored: Any, *, json_null: bool) -> str:
        """The value as a changefeed writes it."""
        text = self.text(stored)
        if text is None:
            return "null"
        return _json(self.type_name, text, json_null=json_null)


def _json(type_name: str, text: str, *, json_null: bool) -> str:
    if type_name.endswith("[]"):
        items = _array(text)
        assert items is not None, text
        element = type_name.removesuffix("[]")
        return (
            "["
            + ", ".join(
                "null" if item is None else _json(element, item, json_null=json_null)  # type: ignore[arg-type]  # one dimension
                for item in items
            )
            + "]"
        )
    base = type_name.partition("(")[0]
    is_number = base.startswith(("INT2", "INT4", "INT8", "FLOAT", "DECIMAL", "OID"))
    if base == "BOOL" or (is_number and text.lower().lstrip("-") not in ("nan", "infinity")):
        return text
    if base == "JSONB":
        return '{"__crdb_json_null__": true}' if text == "null" and json_null else text
    if base in ("GEOMETRY", "GEOGRAPHY"):
        return text
    return json.dumps(text, ensure_ascii=False)


@dataclass
class Table:
    """A table and its history."""

    oid: int
    name: str
    columns: tuple[ColumnDef, ...]
    key: tuple[str, ...]
    families: int = 1
    versions: dict[Key, list[tuple[Moment, Row | None]]] = field(default_factory=dict)
    shapes: list[tuple[Moment, tuple[ColumnDef, ...]]] = field(default_factory=list)

    def at(self, moment: Moment) -> Iterator[tuple[Key, Row]]:
        """The rows as they were."""
        for key, history in self.versions.items():
            row = next((row for when, row in reversed(history) if when <= moment), None)
            if row is not None:
                yield key, row

    def shape(self, moment: Moment) -> tuple[ColumnDef, ...]:
        """The columns as they were."""
        return next((c for when, c in reversed(self.shapes) if when <= moment), self.columns)


@dataclass(frozen=True)
class Event:
    """What a changefeed tells: a row, a deletion (no row), or the end of the changefeed."""

    moment: Moment
    table: str
    key: Key
    row: Row | None
    columns: tuple[ColumnDef, ...]
    end: str = ""


class Store:
    """The cluster's data. All methods may be called from any thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.turn = threading.Lock()  # one transaction at a time: all are serializable
        self.tables: dict[str, Table] = {}
        self.events: list[Event] = []
        self.gc_threshold: Moment = (0, 0)
        self._sql = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._oids = itertools.count(104)
        self._last: Moment = (0, 0)
        self._altered: list[tuple[str, bool]] = []
        self._truncated: list[str] = []

    def close(self) -> None:
        self._sql.close()

    def now(self) -> Moment:
        """The present moment; never the same twice."""
        with self.changed:
            wall = time.time_ns()
            last = self._last
            self._last = (wall, 0) if wall > last[0] else (last[0], last[1] + 1)
            return self._last

    # -- transactions; the caller holds `turn`

    def begin(self) -> None:
        self._sql.execute("BEGIN")

    def rollback(self) -> None:
        self._altered, self._truncated = [], []
        self._sql.execute("ROLLBACK")

    def commit(self) -> None:
        """Make versions and events of what the transaction touched, under one moment."""
        with self.changed:
            moment = self.now()
            for name in self._truncated:
                table = self.tables[name]
                for history in table.versions.values():
                    history.append((moment, None))
                self._sql.execute(f'DELETE FROM "_log_{name}"')
                self.events.append(Event(moment, name, (), None, (), end=f'"{name}" was truncated'))
            for name, rewrites in self._altered:
                table = self.tables[name]
                table.shapes.append((moment, table.columns))
                if rewrites:
                    self._touch_all(table)
            for table in self.tables.values():
                self._version(table, moment)
            self._altered, self._truncated = [], []
            self._sql.execute("COMMIT")
            self.changed.notify_all()

    def _touch_all(self, table: Table) -> None:
        names = ", ".join(f'"{name}"' for name in table.key)
        self._sql.execute(f'INSERT INTO "_log_{table.name}" SELECT {names} FROM "{table.name}"')

    def _version(self, table: Table, moment: Moment) -> None:
        on = " AND ".join(f't."{name}" = l.k{i}' for i, name in enumerate(table.key))
        keys = ", ".join(f"l.k{i}" for i in range(len(table.key)))
        columns = ", ".join(f't."{column.name}"' for column in table.columns)
        there = f't."{table.key[0]}" IS NOT NULL'
        found = self._sql.execute(
            f'SELECT DISTINCT {keys}, {there}, {columns} FROM "_log_{table.name}" l '
            f'LEFT JOIN "{table.name}" t ON {on}'
        ).fetchall()
        if not found:
            return
        width = len(table.key)
        for values in found:
            key = tuple(values[:width])
            row = (
                dict(zip((c.number for c in table.columns), values[width + 1 :], strict=True))
                if values[width]
                else None
            )
            history = table.versions.setdefault(key, [])
            if row is None and (not history or history[-1][1] is None):
                continue
            history.append((moment, row))
            self.events.append(Event(moment, table.name, key, row, table.columns))
        self._sql.execute(f'DELETE FROM "_log_{table.name}"')

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement of a transaction."""
        words = sql.split(None, 3)
        verb = " ".join(words[:2]).upper()
        try:
            if verb == "CREATE TABLE":
                self._create(sql)
                return []
            if verb == "ALTER TABLE":
                self._alter(words[2].strip('"'), words[3])
                return []
            if verb in ("TRUNCATE TABLE", "DROP TABLE"):
                name = words[2].strip('"; ')
                self._sql.execute(f'DELETE FROM "{name}"')
                if verb == "DROP TABLE":
                    self._drop(name)
                else:
                    self._truncated.append(name)
                return []
            if words[0].upper() == "UPSERT":
                sql = "INSERT OR REPLACE" + sql[6:]
            return self._sql.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise StoreError(str(error), "42601") from None

    def _create(self, sql: str) -> None:
        match = re.match(r'CREATE TABLE "?(\w+)"?\s*\((.*)\)\s*$', sql, re.I | re.S)
        assert match is not None, sql
        name = match[1]
        columns: list[ColumnDef] = []
        key: list[str] = []
        families = 0
        for part in _parts(match[2]):
            if part.upper().startswith("PRIMARY KEY"):
                key = [word.strip(' "') for word in part[part.index("(") + 1 : -1].split(",")]
            elif part.upper().startswith("FAMILY"):
                families += 1
            else:
                column = _column(len(columns) + 1, part)
                columns.append(column)
                if "PRIMARY KEY" in part.upper():
                    key = [column.name]
        if not key:
            columns.append(ColumnDef(len(columns) + 1, "rowid", "INT8", hidden=True))
            key = ["rowid"]
        defined = ", ".join(f'"{c.name}" {_affinity(c.type_name)}' for c in columns)
        quoted = ", ".join(f'"{k}"' for k in key)
        self._sql.execute(f'CREATE TABLE "{name}" ({defined}, PRIMARY KEY ({quoted}))')
        places = ", ".join(f"k{i}" for i in range(len(key)))
        self._sql.execute(f'CREATE TABLE "_log_{name}" ({places})')
        for event, rows in (("INSERT", "n"), ("DELETE", "o"), ("UPDATE", "on")):
            steps = "".join(
                f'INSERT INTO "_log_{name}" VALUES ('
                + ", ".join(f'{"NEW" if which == "n" else "OLD"}."{k}"' for k in key)
                + ");"
                for which in rows
            )
            self._sql.execute(
                f'CREATE TRIGGER "_{name}_{event}" AFTER {event} ON "{name}" BEGIN {steps} END'
            )
        table = Table(next(self._oids), name, tuple(columns), tuple(key), max(1, families))
        table.shapes.append(((0, 0), table.columns))
        self.tables[name] = table

    def _drop(self, name: str) -> None:
        self._sql.execute(f'DROP TABLE "{name}"')
        self._sql.execute(f'DROP TABLE "_log_{name}"')
        del self.tables[name]
        self.events.append(Event(self.now(), name, (), None, (), end=f'"{name}" was dropped'))

    def _alter(self, name: str, action: str) -> None:
        table = self.tables[name]
        words = action.split()
        verb = " ".join(words[:2]).upper()
        rewrites = False
        if verb == "ADD COLUMN":
            column = _column(max(c.number for c in table.columns) + 1, action.split(None, 2)[2])
            default = re.search(r"DEFAULT\s+(.+)$", action, re.I)
            rewrites = default is not None
            self._sql.execute(
                f'ALTER TABLE "{name}" ADD COLUMN "{column.name}" {_affinity(column.type_name)}'
                + (f" DEFAULT {default[1]}" if default else "")
            )
            table.columns = (*table.columns, column)
        elif verb == "DROP COLUMN":
            gone = words[2].strip('"')
            self._sql.execute(f'ALTER TABLE "{name}" DROP COLUMN "{gone}"')
            table.columns = tuple(c for c in table.columns if c.name != gone)
            rewrites = True
        elif verb == "RENAME COLUMN":
            old, new = words[2].strip('"'), words[4].strip('"')
            self._sql.execute(f'ALTER TABLE "{name}" RENAME COLUMN "{old}" TO "{new}"')
            table.columns = tuple(
                ColumnDef(c.number, new if c.name == old else c.name, c.type_name, c.hidden)
                for c in table.columns
            )
        else:
            raise StoreError(f"unimplemented: {action}", "0A000")
        self._altered.append((name, rewrites))

    def rows(self, name: str) -> dict[tuple[str, ...], dict[str, str | None]]:
        """A table as it is: texts by key, the key in the columns' order."""
        with self.changed:
            table = self.tables[name]
            shown = [column for column in table.columns if not column.hidden]
            found: dict[tuple[str, ...], dict[str, str | None]] = {}
            for _, row in table.at(self.now()):
                texts = {c.name: c.text(row.get(c.number)) for c in shown}
                key = tuple(texts[c.name] or "" for c in shown if c.name in table.key)
                found[key] = texts
            return found


def _parts(text: str) -> Iterable[str]:
    depth, start = 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()


def _column(number: int, definition: str) -> ColumnDef:
    name, _, rest = definition.partition(" ")
    type_name = _CONSTRAINTS.sub("", " " + rest.strip()).strip()
    base, bracket, more = type_name.partition("(")
    is_array = base.endswith("[]")
    plain = base.removesuffix("[]").strip()
    shown = _NAMES.get(plain.upper(), plain if "." in plain else plain.upper())
    if shown == "VARCHAR" and not bracket:
        shown = "STRING"
    return ColumnDef(number, name.strip('"'), shown + bracket + more + ("[]" if is_array else ""))


def _affinity(type_name: str) -> str:
    return "INTEGER" if type_name in _INTEGERS or type_name == "BOOL" else "TEXT"
