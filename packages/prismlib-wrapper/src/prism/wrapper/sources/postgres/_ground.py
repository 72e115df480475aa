"""What the catalogue said when the stream began, and what may have changed rows since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from prism.wrapper.sources.postgres._catalogue import Leaf, rewritten
from prism.wrapper.sources.postgres._publication import FollowedTable, followed_digest
from prism.wrapper.sources.postgres._session import Session

__all__ = ["Ground"]


class Ground(NamedTuple):
    """The tables we follow, those that hold their rows by the oid of the former, and a digest.

    The digest is what positions on this ground have in common.
    """

    tables: Sequence[FollowedTable]
    leaves: Mapping[int, Sequence[Leaf]]
    digest: str = ""

    @classmethod
    def of(cls, session: Session, tables: Sequence[FollowedTable]) -> Self:
        """Ask the catalogue which tables hold the rows."""
        return cls(
            tuple(tables),
            {table.facts.oid: session.leaves(table.facts.oid) for table in tables},
            followed_digest(tables),
        )

    @property
    def filenodes(self) -> dict[int, int]:
        """The files of the tables that hold rows: another file is a table rewritten or emptied."""
        return {leaf.oid: leaf.filenode for leaves in self.leaves.values() for leaf in leaves}

    def rift(self, now: Ground) -> str | None:
        """Say why rows may differ from those that were told though no change was logged."""
        mine = {table.facts.oid: table for table in self.tables}
        others = {table.facts.oid: table for table in now.tables}
        if mine.keys() != others.keys():
            return "a table was dropped and made anew"
        for oid, table in mine.items():
            why = _table_rift(table, others[oid])
            if why is None and table.facts.form == "p":
                # What happens to a partition as a table of its own is not logged for its root.
                why = _partition_rift(self.leaves[oid], now.leaves[oid])
            if why is not None:
                return why
        return None


def _table_rift(table: FollowedTable, now: FollowedTable) -> str | None:
    name = table.facts.quoted
    if table.key != now.key:
        return f"the key of {name} is another one"
    if table.row_filter != now.row_filter:
        return f"the row filter of {name} is another one"
    if (why := rewritten(table.facts, now.facts)) is not None:
        return why
    new = {c.name for c in now.schema.columns} - {c.name for c in table.schema.columns}
    if new & {column.name for column in table.facts.columns}:
        return f"more columns of {name} are published"
    return None


def _partition_rift(leaves: Sequence[Leaf], now: Sequence[Leaf]) -> str | None:
    there = {leaf.oid: leaf for leaf in now}
    for leaf in leaves:
        if leaf.oid not in there:
            return f"partition {leaf.name} was detached or dropped"
        if there[leaf.oid].filenode != leaf.filenode:
            return f"partition {leaf.name} was emptied or rewritten"
    return None
