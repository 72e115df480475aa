"""Mutate binary log events and see that no mutant crashes the reader or makes a wrong row.

    hatch run fuzz-binlog                     200,000 mutants
    hatch run fuzz-binlog --mutants 5000 --seed 7

Each mutant is read twice. With the checksum that the server wrote, it must be refused: the checksum
does not fit any more. With a checksum that fits, as if the server itself were wrong, it must be
refused by an error of ours or give rows that are rows: texts or NULL for each column, the same by
the compiled loop and by Python.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import binlog_bytes as made
from prism.wrapper.sources import Changes, TableId, TableSchema
from prism.wrapper.sources.errors import SourceError, SourceProtocolError
from prism.wrapper.sources.mysql import _locate
from prism.wrapper.sources.mysql._assembler import Assembler
from prism.wrapper.sources.mysql._binlog import parse_event
from prism.wrapper.sources.mysql._gtid import GtidSet, MariaDBState, MySQLSet
from prism.wrapper.sources.mysql._rows import RowsPlan
from prism.wrapper.sources.mysql._table_map import TableMap

RECORDED = (
    Path(__file__).parents[1] / "packages/prismlib-wrapper/tests/unit/recorded/binlog1011.json"
)
CHARSETS = {8: "latin1", 33: "utf8mb3", 45: "utf8mb4", 46: "utf8mb4", 255: "utf8mb4"}
# Says itself whether it has a checksum, so it is left as it is.
_FORMAT = 15
_KINDS = [*(kind for kind in range(45) if kind != _FORMAT), 160, *range(162, 169)]
_UUID = uuid.UUID("3e11fa47-71ca-11e1-9e33-c80aa9429562")


def mysql_events() -> list[bytes]:
    """A transaction of MySQL 8: rows of version 2 with extra data, and a partial update of JSON."""
    columns = [("id", 3, b""), ("name", 15, b"\x90\x01"), ("doc", 245, b"\x04")]
    # {"a": 1}: a small object of one key, whose value stands in its entry.
    document = bytes.fromhex("00 0100 0c00 0b00 0100 05 0100 61")
    name = b"\x02\x00ab"
    value = len(document).to_bytes(4, "little") + document
    image = b"\x00" + b"\x01\0\0\0" + name + value
    diff = made.json_diff(0, "$.a", bytes.fromhex("05 0700"))
    after = b"\x01\x01" + b"\x00" + b"\x01\0\0\0" + name + len(diff).to_bytes(4, "little") + diff
    return [
        made.format_description(),
        made.mysql_gtid(_UUID, 5),
        made.query("BEGIN"),
        made.table_map(90, "things", columns),
        made.rows(30, 90, 3, [image], extra=b"\x00\x05extra"),
        made.rows(39, 90, 3, [image, after]),
        made.rows(32, 90, 3, [image]),
        made.xid(),
    ]


def corpus() -> list[tuple[list[bytes], bool]]:
    """Streams of events that are right, each with whether it is MariaDB's."""
    recorded = json.loads(RECORDED.read_text())
    return [([bytes.fromhex(one) for one in recorded["events"]], True), (mysql_events(), False)]


def reader(*, is_mariadb: bool) -> Assembler:
    """A reader that follows the tables of the corpus."""

    def plan(table: TableMap) -> RowsPlan:
        return RowsPlan(
            table,
            place=TableId(table.database, table.database, table.name),
            charsets=CHARSETS,
            told_types={"doc": "json"},
            hidden=frozenset(),
            key=("id",),
        )

    done: GtidSet = MariaDBState({}) if is_mariadb else MySQLSet({})
    told: dict[TableId, TableSchema] = {}
    return Assembler(
        is_mariadb=is_mariadb,
        followed=[("recorded", "types"), ("shop", "things")],
        plan=plan,
        told=told,
        known=lambda _: None,
        done=done,
        position=lambda done, file, offset: f"{done}/{file}/{offset}",
        part_rows=100,
    )


def read(events: Sequence[bytes], *, is_mariadb: bool) -> list[tuple[object, ...]]:
    """All rows of a stream.

    Raises:
        AssertionError: One is no row.
    """
    assembler = reader(is_mariadb=is_mariadb)
    rows: list[tuple[object, ...]] = []
    for packet in events:
        for event in assembler.feed(packet):
            if isinstance(event, Changes):
                for change in event.changes:
                    if change.values and len(change.values) != len(change.schema.columns):
                        raise AssertionError("a row of another width")
                    for value in (*change.key, *(change.values or ())):
                        if value is not None and not isinstance(value, str):
                            raise AssertionError("a value that is no text")
                    rows.append((change.op, change.key, change.values))
    return rows


def mutate(packet: bytes, draw: random.Random) -> bytes:
    """Change an event below its header's size field: bits, bytes, lengths, the end."""
    data = bytearray(packet[:-4])
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if len(data) < 20:
            break
        at = draw.randrange(19, len(data))
        way = draw.randrange(6)
        if way == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif way == 1:
            data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF))
        elif way == 2:
            del data[at : at + draw.randrange(1, 9)]
        elif way == 3:
            data[at:at] = draw.randbytes(draw.randrange(1, 9))
        elif way == 4:
            del data[at + draw.randrange(len(data) - at) :]
        else:
            data[4] = draw.choice(_KINDS)
    data[9:13] = (len(data) + 4).to_bytes(4, "little")
    return bytes(data)


def run(mutants: int, *, seed: int) -> Counter[str]:
    """Read mutants; returns how many were refused, and how many gave rows.

    Raises:
        AssertionError: A mutant made a wrong row, or one passed with a wrong checksum.
        Exception: A mutant crashed the reader; the message names its number.
    """
    draw = random.Random(seed)  # noqa: S311  # the same mutants again
    streams = corpus()
    counts: Counter[str] = Counter()
    for number in range(mutants):
        events, is_mariadb = streams[draw.randrange(len(streams))]
        place = draw.randrange(1, len(events))
        if events[place][4] == _FORMAT:
            continue
        body = mutate(events[place], draw)
        if body == events[place][:-4]:
            counts["unchanged"] += 1
            continue
        try:
            parse_event(body + events[place][-4:], has_checksum=True)
        except SourceProtocolError:
            counts["refused by the checksum"] += 1
        else:
            raise AssertionError(f"mutant {number} of seed {seed} passed with a wrong checksum")
        fitting = body + zlib.crc32(body).to_bytes(4, "little")
        stream = [*events[:place], fitting, *events[place + 1 :]]
        try:
            outcomes = [_outcome(stream, is_mariadb=is_mariadb, compiled=c) for c in (True, False)]
        except Exception as error:
            error.add_note(f"mutant {number} of seed {seed}")
            raise
        if outcomes[0] != outcomes[1]:
            raise AssertionError(f"mutant {number} of seed {seed}: the loops differ")
        counts["read as rows" if isinstance(outcomes[0], list) else "refused by the reader"] += 1
    return counts


def _outcome(
    stream: Sequence[bytes], *, is_mariadb: bool, compiled: bool
) -> list[tuple[object, ...]] | str:
    walk = _locate._COMPILED.walk
    try:
        if not compiled:
            _locate._COMPILED.walk = None
        return read(stream, is_mariadb=is_mariadb)
    except SourceError as error:
        return type(error).__name__
    finally:
        _locate._COMPILED.walk = walk


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=200_000, help="how many (200,000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other mutants (1)")
    options = parser.parse_args(arguments)
    _locate.want_compiled(wait=True)
    start = time.perf_counter()
    counts = run(options.mutants, seed=options.seed)
    took = time.perf_counter() - start
    for what, count in sorted(counts.items()):
        print(f"{count:>9,}  {what}")
    print(
        f"{options.mutants:,} mutants of seed {options.seed} in {took:.0f} s: no crash or wrong row"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
