"""Record the binary log of a real MariaDB for tests that need no server.

    python tools/record_binlog.py packages/prismlib-wrapper/tests/unit/recorded/binlog1011.json

A table of many types sees an insert, an update and a delete; the events that the server sends for
them are kept as they come, with the rows as the server itself shows them.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

from local_mariadb import LocalMariaDB
from prism.wrapper.sources.mysql import MySQLSettings
from prism.wrapper.sources.mysql._binlog import EventType
from prism.wrapper.sources.mysql._catalogue import charsets
from prism.wrapper.sources.mysql._dump import Dump
from prism.wrapper.sources.mysql._gtid import MariaDBState
from prism.wrapper.sources.mysql._position import Position
from prism.wrapper.sources.mysql._session import Session

TABLE = """
CREATE TABLE types (
    id int PRIMARY KEY, small smallint, tall bigint unsigned, price decimal(20,4), ratio float,
    weight double, flags bit(11), born date, at datetime(6), seen timestamp(3) NULL, took time(2),
    year year, code char(3), name varchar(300), note text, raw varbinary(9), fixed binary(4),
    mood enum('sad','it''s ok'), tags set('a','b','c'), place point, doc json
) CHARACTER SET utf8mb4
"""
FIRST = """
INSERT INTO types VALUES (1, -2, 18446744073709551615, -12345.6789, 1.5, 0.1, 1025,
    '2024-02-29', '2024-01-02 03:04:05.678901', '2024-01-02 03:04:05.678', '-12:34:56.78', 2024,
    'ab', 'ä😀', REPEAT('x', 300), 0x00ff, 0x01, 'it''s ok', 'a,c', POINT(1, 2), '{"a": 1}')
"""
CHANGES = (
    FIRST,
    "INSERT INTO types (id) VALUES (2)",
    "UPDATE types SET name = 'other', id = id + 10 WHERE id = 1",
    "DELETE FROM types WHERE id = 2",
)


def main(path: Path) -> int:
    """Write the recording."""
    with LocalMariaDB() as server:
        server.execute("RESET MASTER", "CREATE DATABASE recorded")
        server.execute(TABLE, database="recorded")
        with closing(server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@gtid_binlog_pos")
            ((done,),) = cursor.fetchall()
        for change in CHANGES:
            server.execute(change, database="recorded")
        settings = MySQLSettings(dsn=server.dsn(database="recorded"), tables=("types",))
        begin = Position(done=MariaDBState.parse(done), file="", offset=0, tables="0" * 12)
        with closing(Session(settings.dsn, connect_timeout_s=10)) as session:
            names = charsets(session)
        dump = Dump(settings, begin)
        events: list[bytes] = []
        try:
            while not events or events[-1][4] != EventType.HEARTBEAT:
                events += dump.read()
        finally:
            dump.release()
    used = {number: name for number, name in names.items() if name in ("utf8mb4", "latin1")}
    recording = {
        "server": "MariaDB of Debian 12",
        "charsets": used,
        "statements": [TABLE, *CHANGES],
        "events": [event.hex() for event in events],
    }
    path.write_text(json.dumps(recording, indent=1) + "\n")
    print(f"{len(events)} events in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
