"""A table's rules applied to its columns: what each of its rows becomes.

A plan belongs to one `TableSchema`. After ALTER TABLE there is another schema and another plan:
columns that a template names and the table no longer has are left out of the text.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import string
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import cast

from prism.wrapper._rows.rules import TableRule
from prism.wrapper._rows.tokens import quotes_of, tokenizer, words_of_token
from prism.wrapper.sources import UNCHANGED, ColumnKind, TableSchema, Value

__all__ = ["NO_DIGEST", "RowPlan", "digest", "row_id"]

_DIGEST_BYTES = 16
NO_DIGEST = b"\0" * _DIGEST_BYTES
_UNSAID = {ColumnKind.TEMPORAL, ColumnKind.BYTES, ColumnKind.JSON}
# Their words are those of their JSON, not those of their text. So a text that is made of stored
# columns is the one that was made of the database's texts.
_BY_TOKEN = {
    ColumnKind.ARRAY,
    ColumnKind.BOOLEAN,
    ColumnKind.FLOAT,
    ColumnKind.INTEGER,
    ColumnKind.JSON,
}


def row_id(key: Sequence[str]) -> str:
    """Name a row: its key, or with a key of several columns the JSON array of its parts."""
    if len(key) == 1:
        return key[0]
    return json.dumps(list(key), ensure_ascii=False, separators=(",", ":"))


def digest(text: str) -> bytes:
    """16 bytes that differ for different texts."""
    return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


class RowPlan:
    """Makes columns and text of rows of one table. Immutable, safe for threads.

    Args:
        schema: The table.
        rule: What is wanted of it.
    """

    def __init__(self, schema: TableSchema, rule: TableRule) -> None:
        self.schema = schema
        self.rule = rule
        names = [column.name for column in schema.columns]
        wanted = set(rule.columns) | {names[position] for position in schema.key}
        self._sent = [
            (position, f"{json.dumps(column.name, ensure_ascii=False)}:", tokenizer(column))
            for position, column in enumerate(schema.columns)
            if not rule.columns or column.name in wanted
        ]
        self._template = _template(rule.text) if rule.text else self._labels()
        self._by_name = {name: position for position, name in enumerate(names)}

    @property
    def sent_columns(self) -> list[int]:
        """Positions of the columns that are sent, in the table's order."""
        return [position for position, _, _ in self._sent]

    def problems(self) -> list[str]:
        """What the rule says and the table does not have, in words with a remedy."""
        said = {name for _, name in self._template if name}
        named = said | {*self.rule.columns, *self.rule.text_columns, *self.rule.numeric}
        found = []
        for name in sorted(named - set(self._by_name)):
            near = difflib.get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(self._by_name)}"
            found.append(f"{self.schema.table} has no column {name}; {hint}")
        sent = {self.schema.columns[position].name for position in self.sent_columns}
        found += [
            f"{self.schema.table}: the text names {name}, which columns leaves out; add it there"
            for name in sorted((said & set(self._by_name)) - sent)
        ]
        return found

    def columns(self, values: Sequence[Value], held: dict[str, str] | None = None) -> bytes:
        """Write a row's columns as a JSON object.

        Args:
            values: In the order of the table's columns.
            held: For values that are UNCHANGED: column to JSON token, of the row as it was.

        Raises:
            KeyError: A value is UNCHANGED and not among those held.
        """
        parts = []
        for position, label, token in self._sent:
            value = values[position]
            if value is None:
                parts.append(f"{label}null")
            elif value is UNCHANGED:
                name = self.schema.columns[position].name
                parts.append(label + (held or {})[name])
            else:
                parts.append(label + token(value))
        return ("{" + ",".join(parts) + "}").encode()

    def text(self, values: Sequence[Value], held: dict[str, str] | None = None) -> str:
        """Write the text that is embedded, cut to the rule's length.

        Args:
            values: In the order of the table's columns.
            held: As of `columns`.
        """
        said = []
        for literal, name in self._template:
            if name is None:
                said.append(literal)
                continue
            spoken = self._said(name, values, held)
            if spoken or self.rule.text:
                said.append(literal + spoken)
        if self.rule.text:
            return "".join(said)[: self.rule.text_chars]
        return ", ".join(said)[: self.rule.text_chars]

    def columns_of(self, columns: Sequence[Sequence[str | None]], *, rows: int) -> list[bytes]:
        """Write what `columns` writes, for many rows at once.

        Args:
            columns: One sequence of values a column, in the table's order.
            rows: How many values each has.
        """
        parts: list[Iterable[str]] = []
        literal = "{"
        for place, (position, label, token) in enumerate(self._sent):
            texts = columns[position]
            literal += f",{label}" if place else label
            quotes = None
            if None not in texts:
                texts = cast("Sequence[str]", texts)
                quotes = quotes_of(self.schema.columns[position], texts)
            if quotes is None:
                tokens = ["null" if text is None else token(text) for text in texts]
                parts += [repeat(literal, rows), tokens]
                literal = ""
            else:
                parts += [repeat(literal + quotes, rows), cast("Sequence[str]", texts)]
                literal = quotes
        parts.append(repeat(literal + "}", rows))
        return list(map(str.encode, map("".join, zip(*parts, strict=True))))

    def texts_of(self, columns: Sequence[Sequence[str | None]], *, rows: int) -> list[str]:
        """Write what `text` writes, for many rows at once; arguments as of `columns_of`."""
        parts: list[Iterable[str]] = []
        literal = ""
        for place, (before, name) in enumerate(self._template):
            literal += before if self.rule.text or not place else f", {before}"
            if name is None:
                continue
            spoken = self._all_said(name, columns, rows)
            if not self.rule.text and "" in spoken:
                # What a row does not say has no label either.
                return list(map(self.text, zip(*columns, strict=True)))
            parts += [repeat(literal, rows), spoken]
            literal = ""
        parts.append(repeat(literal, rows))
        texts = list(map("".join, zip(*parts, strict=True)))
        most = self.rule.text_chars
        if max(map(len, texts), default=0) > most:
            return [text[:most] for text in texts]
        return texts

    def missing(self, values: Sequence[Value]) -> bool:
        """Say whether `columns` or `text` would need what is held of the row."""
        return UNCHANGED in values

    def _said(self, name: str, values: Sequence[Value], held: dict[str, str] | None) -> str:
        position = self._by_name.get(name)
        if position is None:
            return ""
        value = values[position]
        if value is None:
            return ""
        if value is UNCHANGED:
            return self._with_level(name, words_of_token((held or {}).get(name, "")))
        return self._with_level(name, self._words(position, value))

    def _words(self, position: int, text: str) -> str:
        column = self.schema.columns[position]
        return words_of_token(tokenizer(column)(text)) if column.kind in _BY_TOKEN else text

    def _with_level(self, name: str, spoken: str) -> str:
        level = self.rule.level(name, spoken)
        return f"{spoken} ({level})" if level else spoken

    def _all_said(
        self, name: str, columns: Sequence[Sequence[str | None]], rows: int
    ) -> Sequence[str]:
        position = self._by_name.get(name)
        if position is None:
            return [""] * rows
        texts = columns[position]
        column = self.schema.columns[position]
        if name not in self.rule.numeric and None not in texts:
            said = cast("Sequence[str]", texts)
            # An integer's token is its text, and its words are its token.
            if column.kind not in _BY_TOKEN or quotes_of(column, said) == "":
                return said
        return [
            "" if text is None else self._with_level(name, self._words(position, text))
            for text in texts
        ]

    def _labels(self) -> list[tuple[str, str | None]]:
        columns = self.schema.columns
        names: Sequence[str] = self.rule.text_columns
        if not names:
            sent = set(self.sent_columns)
            names = [
                column.name
                for position, column in enumerate(columns)
                if position in sent
                and position not in self.schema.key
                and column.kind not in _UNSAID
                and not column.name.lower().endswith("_id")
                and column.type_name != "uuid"
            ] or [columns[position].name for position in self.schema.key]
        return [(f"{name}: ", name) for name in names]


def _template(text: str) -> list[tuple[str, str | None]]:
    parts: list[tuple[str, str | None]] = []
    for literal, name, _, _ in string.Formatter().parse(text):
        parts.append((literal, name))
    return parts
