"""The replica: tables that one feed fills, and the one that is built beside it.

`Replica` is what readers see: a set of tables that only grows and whose rows change in place.
`ReplicaKeeper` applies the feed's events. What begins with a RESET is built in a replica of its
own, and takes the place of the one that readers see when it is whole, in one assignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from chorus_fabric import Began, Cleared, Deleted, Described, FeedPosition, Reached, Upserted
from prism.ffi._table import TableReplica
from prism.ffi.errors import UnknownTableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chorus_fabric import FeedEvent, StreamSchema
    from prism.ffi._row import Row
    from prismresonance import PrismProjector

__all__ = ["Applied", "Replica", "ReplicaKeeper"]


class Applied(NamedTuple):
    """What an event changed for readers.

    Attributes:
        table: Full name of the table; empty when all of the replica was replaced.
        upserted: Ids of the rows that are new or changed.
        deleted: Ids of the rows that are gone.
    """

    table: str
    upserted: Sequence[str] = ()
    deleted: Sequence[str] = ()


class Replica:
    """Tables by their names.

    Attributes:
        tables: By stream number.
        sole: The rows of the only table; `None` while there are several or none.
    """

    def __init__(self) -> None:
        self.tables: dict[int, TableReplica] = {}
        self.sole: dict[str, Row] | None = None
        self._found: dict[str, TableReplica] = {}

    def __len__(self) -> int:
        return sum(len(table.rows) for table in self.tables.values())

    def put(self, stream: int, table: TableReplica) -> None:
        """Add a table."""
        self.tables = {**self.tables, stream: table}
        self.sole = table.rows if len(self.tables) == 1 else None
        self._found = {}

    def table(self, name: str) -> TableReplica:
        """Find a table by its name, with or without schema and database.

        Raises:
            UnknownTableError: There is none, or several.
        """
        found = self._found.get(name)
        if found is not None:
            return found
        tables = [table for table in self.tables.values() if table.schema.answers_to(name)]
        exact = [table for table in tables if table.schema.full_name == name]
        if len(exact or tables) != 1:
            known = ", ".join(sorted(t.schema.full_name for t in self.tables.values())) or "none"
            many = "several tables answer to" if tables else "no replicated table is called"
            raise UnknownTableError(f"{many} {name!r}; there are: {known}")
        cache = self._found
        cache[name] = (exact or tables)[0]
        return cache[name]


class ReplicaKeeper:
    """Apply a feed's events; used by one thread.

    Args:
        projector: Gives the tenant's 64 dimensions.
        indexed_columns: By table name: columns for which `where=` is made cheap.

    Attributes:
        shown: What readers see; replaced as a whole.
    """

    def __init__(
        self, *, projector: PrismProjector, indexed_columns: Mapping[str, Sequence[str]]
    ) -> None:
        self.shown = Replica()
        self.position = FeedPosition()
        self._projector = projector
        self._indexed_columns = indexed_columns
        self._built: Replica | None = None

    @property
    def is_building(self) -> bool:
        """Whether a new replica is being built beside the one that is shown."""
        return self._built is not None

    @property
    def building_rows(self) -> int:
        """Rows of the replica that is being built; 0 while none is."""
        return 0 if self._built is None else len(self._built)

    def apply(self, event: FeedEvent) -> Applied | None:
        """Apply an event; gives what readers will notice, `None` for nothing."""
        match event:
            case Upserted(schema, frame):
                table = self._target().tables[schema.stream]
                stored = table.upsert(
                    frame.ids, frame.texts, frame.metadata, frame.vectors, frame.seqs
                )
                return self._noticed(Applied(schema.full_name, upserted=stored))
            case Deleted(schema, frame):
                table = self._target().tables[schema.stream]
                gone = table.delete(list(frame.ids), frame.seqs.tolist())
                return self._noticed(Applied(schema.full_name, deleted=gone))
            case Cleared(schema, seq):
                gone = self._target().tables[schema.stream].clear(seq)
                return self._noticed(Applied(schema.full_name, deleted=gone))
            case Described(schema):
                self.describe(schema)
            case Began():
                self._built = Replica()
            case Reached(position):
                return self._reached(position, is_first=event.is_first)
        return None

    def describe(self, schema: StreamSchema) -> TableReplica:
        """Make a table, or take what is new about one."""
        replica = self._target()
        table = replica.tables.get(schema.stream)
        if table is None or (table.schema.dim != schema.dim and not table.rows):
            table = TableReplica(
                schema, projector=self._projector, indexed_columns=self._columns_of(schema)
            )
            replica.put(schema.stream, table)
        else:
            table.schema = schema
        return table

    def _reached(self, position: FeedPosition, *, is_first: bool) -> Applied | None:
        self.position = position
        if is_first and self._built is not None:
            self.shown, self._built = self._built, None
            return Applied("")
        return None

    def _noticed(self, applied: Applied) -> Applied | None:
        if self._built is not None or not (applied.upserted or applied.deleted):
            return None
        return applied

    def _target(self) -> Replica:
        return self.shown if self._built is None else self._built

    def _columns_of(self, schema: StreamSchema) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                column
                for name, columns in self._indexed_columns.items()
                if schema.answers_to(name)
                for column in columns
            )
        )
