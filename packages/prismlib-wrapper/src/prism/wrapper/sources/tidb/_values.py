r"""Texts of values, the same whether read by a query or told by TiCDC. Pure.

A query's answer, canal-json and the open protocol write the same value differently. What a source
tells is:

| type | text |
| --- | --- |
| integers, YEAR | decimal digits, without ZEROFILL's zeros |
| BIT | its number in decimal digits |
| FLOAT, DOUBLE | the shortest digits that read back as the same number |
| DECIMAL, DATE, TIME, DATETIME, TIMESTAMP, JSON, VECTOR | as the database writes it |
| CHAR, VARCHAR, TEXT | the text |
| ENUM, SET | names, a set's with commas between |
| BINARY, VARBINARY, BLOB | `\x` and two hexadecimal digits for each byte; BINARY with its zeros |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from prism.wrapper.sources.tidb._catalogue import ColumnFacts, TableFacts
from prism.wrapper.sources.tidb._messages import MessageError, RawRow, RawValue

__all__ = ["Texts", "reader"]

_Read: TypeAlias = Callable[[str | bytes], str]

_WHOLE: Final = frozenset(("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year"))
_BYTES: Final = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
_SIZE: Final = re.compile(r"\((\d+)\)")
# Beyond, digits are shorter with an exponent, as the database writes them too.
_PLAIN_FLOAT: Final = 1e15


class Texts:
    """Makes the texts of one table's rows. Immutable.

    Args:
        facts: The table.
    """

    def __init__(self, facts: TableFacts) -> None:
        self._facts = facts
        self._columns = tuple((column.name, reader(column, told=True)) for column in facts.columns)
        self._answers = tuple((column.name, reader(column, told=False)) for column in facts.columns)
        self._names = frozenset(name for name, _ in self._columns)
        readers = dict(self._columns)
        # A row's key is in the order of the columns, whatever the index's order.
        self._key = tuple((name, readers[name]) for name, _ in self._columns if name in facts.key)

    def fits(self, row: RawRow) -> bool:
        """Whether a row has these columns: no more, no fewer."""
        return row.keys() == self._names

    def values(self, row: RawRow) -> tuple[str | None, ...]:
        """The row's texts in the order of the columns. Its columns must fit.

        Raises:
            MessageError: A value is not what its column holds.
        """
        return tuple([self._text(name, read, row[name]) for name, read in self._columns])

    def of_answer(self, row: Sequence[RawValue]) -> tuple[str | None, ...]:
        """The texts of a query's row, of all columns in their order."""
        return tuple(
            [
                self._text(name, read, value)
                for (name, read), value in zip(self._answers, row, strict=True)
            ]
        )

    def key(self, row: RawRow) -> tuple[str, ...]:
        """The row's key.

        Raises:
            MessageError: A part of it was not sent.
        """
        texts: list[str] = []
        for name, read in self._key:
            text = self._text(name, read, row.get(name))
            if text is None:
                raise MessageError(
                    f"a row of {self._facts.full_name} came without {name}, which is part of what "
                    "identifies it: let TiCDC send whole rows"
                )
            texts.append(text)
        return tuple(texts)

    def _text(self, name: str, read: _Read, value: RawValue) -> str | None:
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, ArithmeticError, LookupError):
            raise MessageError(
                f"column {name} of {self._facts.full_name}: a value is not of its type "
                f"{self._facts_of(name).base}"
            ) from None

    def _facts_of(self, name: str) -> ColumnFacts:
        return next(column for column in self._facts.columns if column.name == name)


def reader(column: ColumnFacts, *, told: bool) -> _Read:
    """What makes the text of a column's value.

    Args:
        column: The column.
        told: Whether TiCDC told the value, which sends numbers for the members of an ENUM or SET.
            A query answers with names, which may be digits too.
    """
    base = column.base
    if base in _WHOLE:
        return lambda value: str(int(value))
    if base == "bit":
        return _bit
    if base == "float":
        return lambda value: _digits(float(np.float32(_str(value))), str(np.float32(_str(value))))
    if base in ("double", "real"):
        return lambda value: _digits(float(value), repr(float(value)))
    if base in _BYTES:
        size = _SIZE.search(column.type_name) if base == "binary" else None
        width = int(size[1]) if size else 0
        return lambda value: "\\x" + _raw(value).ljust(width, b"\0").hex()
    if base in ("enum", "set") and told:
        return _enum(column.members) if base == "enum" else _set(column.members)
    return _str


def _str(value: str | bytes) -> str:
    # Bytes of a text column: its characters, of whatever the connection speaks, which is UTF-8.
    return value if isinstance(value, str) else value.decode(errors="backslashreplace")


def _raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _bit(value: str | bytes) -> str:
    # A query gives the bits as bytes, TiCDC as a number.
    return str(int.from_bytes(value, "big") if isinstance(value, bytes) else int(value))


def _digits(number: float, shortest: str) -> str:
    if number.is_integer() and abs(number) < _PLAIN_FLOAT:
        return f"{number:.0f}"
    return shortest.replace("e+", "e").replace("e-0", "e-")


def _enum(members: Sequence[str]) -> _Read:
    def text(value: str | bytes) -> str:
        said = _str(value)
        if not said.isdecimal():
            return said
        # From 1; 0 is the empty text, which stands for a value that was invalid.
        return members[int(said) - 1] if int(said) else ""

    return text


def _set(members: Sequence[str]) -> _Read:
    def text(value: str | bytes) -> str:
        said = _str(value)
        if not said.isdecimal():
            return said
        bits = int(said)
        if bits >> len(members):
            raise ValueError("a bit without a member")
        return ",".join(name for place, name in enumerate(members) if bits >> place & 1)

    return text
