"""Identifiers and literals of SQL text, and the statements made of them. Pure.

Statements that take no parameters (COPY, CREATE PUBLICATION, the replication commands) need names
as text. Every name goes through `identifier` or `literal`, and comes from the catalogue or from the
settings.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["create_publication", "identifier", "literal", "qualified"]


def identifier(name: str) -> str:
    """Quote a name.

    Raises:
        ValueError: It holds a zero byte, which no name does.
    """
    if "\0" in name:
        raise ValueError("a name cannot hold a zero byte")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text, for sessions with `standard_conforming_strings` on, as ours are."""
    if "\0" in text:
        raise ValueError("a text cannot hold a zero byte")
    return "'" + text.replace("'", "''") + "'"


def qualified(schema: str, name: str) -> str:
    """Quote a table's name with its schema."""
    return f"{identifier(schema)}.{identifier(name)}"


def create_publication(name: str, tables: Iterable[str], *, server_version: int) -> str:
    """The statement that makes the publication we need; `tables` are quoted already."""
    options = "publish_via_partition_root = true"
    if server_version >= 180000:
        options += ", publish_generated_columns = stored"
    return f"CREATE PUBLICATION {identifier(name)} FOR TABLE {', '.join(tables)} WITH ({options})"
