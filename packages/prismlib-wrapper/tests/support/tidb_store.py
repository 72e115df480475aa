"""A table store with versions, which stands in for TiDB: SQL in, rows as of any moment out.

SQLite runs the statements; after each transaction the tables are compared with what they were, so
what changed is known row by row, as TiKV knows it. The texts of values are made here on their own,
so that a test compares two makers of them.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

__all__ = ["ColumnSpec", "Commit", "RowChange", "Statement", "Store", "TableVersion"]

Row = tuple[object, ...]
_CREATE = re.compile(r"CREATE TABLE (\w+) \((.*)\)", re.DOTALL)
_ALTER = re.compile(r"ALTER TABLE (\w+) (ADD|DROP) COLUMN (\w+) ?(.*)", re.DOTALL)
_TRUNCATE = re.compile(r"TRUNCATE TABLE (\w+)")
_WHOLE = ("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "bit")
_REAL = ("float", "double")
_RAW = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_KEPT_VERSIONS = 400


@dataclass(frozen=True)
class ColumnSpec:
    name: str
    type_name: str  # as information_schema says it
    nullable: bool = True
    default: str | None = None

    @property
    def base(self) -> str:
        return re.match(r"\w+", self.type_name)[0]

    def text(self, value: object) -> str | None:
        """As a source must tell it."""
        if value is None:
            return None
        if self.base in _RAW:
            width = re.search(r"\((\d+)\)", self.type_name)
            raw = bytes(value)
            return "\\x" + (raw.ljust(int(width[1]), b"\0") if self.base == "binary" else raw).hex()
        if self.base == "decimal":
            scale = int(re.search(r",(\d+)\)", self.type_name)[1])
            return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-scale)))
        if self.base in _REAL:
            return repr(value).removesuffix(".0").replace("e+", "e")
        return str(value)

    def members(self) -> list[str]:
        return [
            found.replace("''", "'") for found in re.findall(r"'((?:[^']|'')*)'", self.type_name)
        ]


@dataclass(frozen=True)
class TableVersion:
    ts: int
    columns: tuple[ColumnSpec, ...]
    key: tuple[str, ...]
    rows: dict[Row, Row]


@dataclass(frozen=True)
class RowChange:
    table: str
    columns: tuple[ColumnSpec, ...]
    key: tuple[str, ...]
    before: Row | None
    after: Row | None


@dataclass(frozen=True)
class Statement:
    table: str
    query: str
    kind: str  # canal's: CREATE, ALTER, TRUNCATE
    number: int  # the open protocol's


@dataclass(frozen=True)
class Commit:
    ts: int
    changes: tuple[RowChange, ...] = ()
    statement: Statement | None = None


@dataclass
class Store:
    """All methods may be called from any thread."""

    database: str = "shop"
    commits: list[Commit] = field(default_factory=list)
    on_commit: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._sql = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._tables: dict[str, list[TableVersion]] = {}
        self._last_ts = 0

    def close(self) -> None:
        self._sql.close()

    def now(self) -> int:
        """A timestamp like no other, rising."""
        with self._lock:
            self._last_ts = max(self._last_ts + 1, int(time.time() * 1000) << 18)
            return self._last_ts

    def execute(self, statements: Sequence[str], *, rollback: bool = False) -> None:
        with self._lock:
            self._sql.execute("BEGIN")
            for statement in statements:
                if not self._define(statement):
                    self._sql.execute(statement)
            if rollback:
                self._sql.execute("ROLLBACK")
                return
            self._sql.execute("COMMIT")
            self._commit()
        self.on_commit()

    def latest(self, table: str) -> TableVersion:
        with self._lock:
            return self._tables[table][-1]

    def names(self, ts: int) -> list[str]:
        with self._lock:
            return [name for name, versions in self._tables.items() if versions[0].ts <= ts]

    def as_of(self, table: str, ts: int) -> TableVersion:
        with self._lock:
            known = [version for version in self._tables[table] if version.ts <= ts]
            if not known:
                raise LookupError("GC life time is shorter than transaction duration")
            return known[-1]

    def read(self, table: str) -> dict[tuple[str, ...], dict[str, str | None]]:
        version = self.latest(table)
        rows = {}
        for row in version.rows.values():
            texts = {c.name: c.text(v) for c, v in zip(version.columns, row, strict=True)}
            key = tuple(texts[c.name] for c in version.columns if c.name in version.key)
            rows[key] = texts
        return rows

    # -- statements that define tables

    def _define(self, statement: str) -> bool:
        if found := _CREATE.fullmatch(statement):
            self._create(found[1], found[2], statement)
        elif found := _ALTER.fullmatch(statement):
            self._alter(found[1], found[2], found[3], found[4], statement)
        elif found := _TRUNCATE.fullmatch(statement):
            self._sql.execute(f"DELETE FROM {found[1]}")
            version = self.latest(found[1])
            self._define_as(found[1], version.columns, version.key, {}, statement, "TRUNCATE", 11)
        else:
            return False
        return True

    def _create(self, name: str, body: str, statement: str) -> None:
        columns, key = [], ()
        lines = []
        for part in re.split(r",(?![^(]*\))", body):
            part = part.strip()
            if found := re.fullmatch(r"PRIMARY KEY \((.*)\)", part):
                key = tuple(one.strip() for one in found[1].split(","))
                continue
            column, is_key = _column(part)
            columns.append(column)
            key = (column.name,) if is_key else key
            lines.append(f"{column.name} {_affinity(column)}")
        columns = [
            ColumnSpec(c.name, c.type_name, c.nullable and c.name not in key) for c in columns
        ]
        lines.append(f"PRIMARY KEY ({', '.join(key)})")
        self._sql.execute(f"CREATE TABLE {name} ({', '.join(lines)})")
        self._define_as(name, tuple(columns), key, {}, statement, "CREATE", 3)

    def _alter(self, table: str, what: str, name: str, rest: str, statement: str) -> None:
        version = self.latest(table)
        if what == "ADD":
            column, _ = _column(f"{name} {rest}")
            default = f" DEFAULT {column.default}" if column.default is not None else ""
            self._sql.execute(f"ALTER TABLE {table} ADD COLUMN {name} {_affinity(column)}{default}")
            columns, number = (*version.columns, column), 5
        else:
            self._sql.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
            columns = tuple(c for c in version.columns if c.name != name)
            number = 6
        rows = self._rows(table, columns, version.key)
        self._define_as(table, columns, version.key, rows, statement, "ALTER", number)

    def _define_as(
        self,
        table: str,
        columns: tuple[ColumnSpec, ...],
        key: tuple[str, ...],
        rows: dict[Row, Row],
        query: str,
        kind: str,
        number: int,
    ) -> None:
        # The job's timestamp is that of the beginning of the transaction that ends it.
        ts = self.now()
        visible = self.now()
        self._tables.setdefault(table, []).append(TableVersion(visible, columns, key, rows))
        self.commits.append(Commit(ts, statement=Statement(table, query, kind, number)))

    # -- what a transaction changed

    def _commit(self) -> None:
        changes = []
        fresh = {}
        for table, versions in self._tables.items():
            version = versions[-1]
            rows = self._rows(table, version.columns, version.key)
            if rows == version.rows:
                continue
            fresh[table] = rows
            for key in version.rows.keys() | rows.keys():
                before, after = version.rows.get(key), rows.get(key)
                if before != after:
                    changes.append(RowChange(table, version.columns, version.key, before, after))
        if not changes:
            return
        ts = self.now()
        for table, rows in fresh.items():
            versions = self._tables[table]
            versions.append(TableVersion(ts, versions[-1].columns, versions[-1].key, rows))
            del versions[:-_KEPT_VERSIONS]
        self.commits.append(Commit(ts, tuple(changes)))

    def _rows(
        self, table: str, columns: tuple[ColumnSpec, ...], key: tuple[str, ...]
    ) -> dict[Row, Row]:
        listed = ", ".join(column.name for column in columns)
        places = [i for i, column in enumerate(columns) if column.name in key]
        found = self._sql.execute(f"SELECT {listed} FROM {table}").fetchall()
        return {tuple(row[i] for i in places): row for row in found}


def _column(text: str) -> tuple[ColumnSpec, bool]:
    found = re.fullmatch(
        r"(\w+) (\w+(?:\(.*\))?(?: unsigned)?)( NOT NULL)?( PRIMARY KEY)?(?: DEFAULT (.*))?",
        text.strip(),
        re.IGNORECASE | re.DOTALL,
    )
    if found is None:
        raise ValueError(f"the double cannot read the column {text!r}")
    name, type_name, not_null, is_key, default = found.groups()
    head, _, rest = type_name.partition("(")
    type_name = head.lower() + ("(" + rest if rest else "")
    return ColumnSpec(name, type_name, not (not_null or is_key), default), bool(is_key)


def _affinity(column: ColumnSpec) -> str:
    if "unsigned" in column.type_name and column.base == "bigint":
        return "TEXT"
    if column.base in _WHOLE:
        return "INTEGER"
    if column.base in _REAL:
        return "REAL"
    return "BLOB" if column.base in _RAW else "TEXT"
