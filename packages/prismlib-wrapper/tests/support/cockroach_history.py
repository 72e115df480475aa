"""Random histories of tables, and a changefeed that tells them as badly as it may."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from prism.wrapper.sources._types import ColumnKind, TableId
from prism.wrapper.sources.cockroach._catalogue import ColumnFacts, Layout, TableFacts, layout_of
from prism.wrapper.sources.cockroach._position import Moment

State = dict[str, dict[tuple[str, ...], tuple[str | None, ...]]]
Row = tuple[bytes | None, bytes | None, bytes | None]
KINDS = ColumnKind


def table(name: str, *columns: tuple[str, str], key: tuple[str, ...]) -> TableFacts:
    """A table as the catalogue would tell it."""
    return TableFacts(
        oid=100 + len(name),
        table=TableId("defaultdb", "public", name),
        form="r",
        readable=True,
        columns=tuple(
            ColumnFacts(number=number, name=column, type_name=type_name)
            for number, (column, type_name) in enumerate(columns, 1)
        ),
        key=key,
    )


TABLES = {
    "items": table("items", ("id", "INT8"), ("name", "STRING"), key=("id",)),
    # The key's order is not the columns': messages have it in the key's.
    "pairs": table("pairs", ("a", "INT8"), ("b", "STRING"), ("n", "INT8"), key=("b", "a")),
}
LAYOUTS: dict[str, Layout] = {name: layout_of(facts) for name, facts in TABLES.items()}


@dataclass(frozen=True)
class Write:
    """A row's version; None for its deletion."""

    moment: Moment
    table: str
    key: tuple[int, ...] | tuple[str, int]
    row: dict[str, object] | None

    def message(self) -> Row:
        after = None if self.row is None else dict(sorted(self.row.items()))
        value = {"after": after, "updated": str(self.moment)}
        return self.table.encode(), json.dumps(self.key).encode(), json.dumps(value).encode()


class History:
    """Transactions, each at a moment of its own, of several keys."""

    def __init__(self, seed: int, *, transactions: int = 40) -> None:
        chance = random.Random(seed)
        self.writes: list[Write] = []
        wall, logical = 1_700_000_000_000_000_000, 0
        live: set[tuple[str, object]] = set()
        for number in range(transactions):
            if chance.random() < 0.3:
                logical += 1
            else:
                wall, logical = wall + chance.randint(1, 10**9), 0
            touched: dict[tuple[str, object], Write] = {}
            for _ in range(chance.choice((1, 1, 2, 5))):
                name = chance.choice(("items", "pairs"))
                a, b = chance.randint(1, 6), chance.choice("xy")
                key = (a,) if name == "items" else (b, a)
                row: dict[str, object] | None = (
                    {"id": a, "name": f"n{number}"}
                    if name == "items"
                    else {"a": a, "b": b, "n": number}
                )
                if (name, key) in live and chance.random() < 0.4:
                    row = None
                touched[name, key] = Write(Moment(wall, logical), name, key, row)
            for (name, key), write in touched.items():
                (live.discard if write.row is None else live.add)((name, key))
                self.writes.append(write)

    @property
    def moments(self) -> list[Moment]:
        return sorted({write.moment for write in self.writes})

    def at(self, moment: Moment) -> State:
        """The tables as they were."""
        state: State = {"items": {}, "pairs": {}}
        for write in self.writes:
            if write.moment > moment:
                break
            parts = tuple(map(str, write.key))
            key = parts if write.table == "items" else (parts[1], parts[0])
            if write.row is None:
                state[write.table].pop(key, None)
            else:
                state[write.table][key] = tuple(map(str, write.row.values()))
        return state

    def live(self, moment: Moment) -> list[Write]:
        """The rows of a scan."""
        last = {(write.table, write.key): write for write in self.writes if write.moment <= moment}
        return [
            Write(moment, write.table, write.key, write.row)
            for write in last.values()
            if write.row is not None
        ]

    def feed(self, start: Moment, *, scan: bool, chance: random.Random) -> Iterator[Row]:
        """What a changefeed sends until all is told: disorder across keys, repeats, late marks."""
        sent: list[Write] = []

        def told(write: Write) -> Iterator[Row]:
            sent.append(write)
            yield write.message()
            while chance.random() < 0.25:
                yield chance.choice(sent).message()

        if scan:
            rows = self.live(start)
            chance.shuffle(rows)
            for write in rows:
                yield from told(write)
        waiting = [write for write in self.writes if write.moment > start]
        yield _mark(start)
        while waiting:
            # A part of the history, in order for each key and in none across keys.
            part = waiting[: chance.randint(1, 25)]
            open_keys: set[tuple[str, object]] = set()
            now: list[Write] = []
            later: list[Write] = []
            for write in part:
                place = (write.table, write.key)
                if place in open_keys or chance.random() < 0.3:
                    open_keys.add(place)
                    later.append(write)
                else:
                    now.append(write)
            by_key: dict[tuple[str, object], list[Write]] = {}
            for write in now:
                by_key.setdefault((write.table, write.key), []).append(write)
            turns = [place for place, queue in by_key.items() for _ in queue]
            chance.shuffle(turns)
            for place in turns:
                yield from told(by_key[place].pop(0))
            waiting = later + waiting[len(part) :]
            # All before the first that is still to come may be closed.
            limit = waiting[0].moment if waiting else None
            closed = [w.moment for w in sent if limit is None or w.moment < limit]
            if closed and chance.random() < 0.7:
                yield _mark(chance.choice(closed) if chance.random() < 0.5 else max(closed))
        last = self.writes[-1].moment
        yield _mark(Moment(last.wall_ns + 1, 0))


def _mark(moment: Moment) -> Row:
    return None, None, json.dumps({"resolved": str(moment)}).encode()
