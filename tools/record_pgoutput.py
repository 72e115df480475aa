"""Record what PostgreSQL sends by pgoutput, as a fixture of the decoder's tests.

    python tools/record_pgoutput.py 15 > .../tests/unit/recorded/pgoutput15.json

Needs the packages of the workspace. One message a line, as hexadecimal text.
"""

from __future__ import annotations

import json
import sys

import psycopg2

from prism.wrapper._local_postgres import LocalPostgres, find_postgres
from prism.wrapper.sources.postgres._replication import ReplicationConnection

TRANSACTIONS = (
    (
        "INSERT INTO shop.items VALUES (1, 'ä', 'ok', repeat('x', 3000))",
        "UPDATE shop.items SET id = 2",
        "UPDATE shop.whole SET name = 'n'",
        "DELETE FROM shop.items",
        "INSERT INTO shop.items VALUES (3, NULL, 'sad', '')",
    ),
    ("TRUNCATE shop.items, shop.whole",),
    ("ALTER TABLE shop.items ADD extra numeric(5,2)", "INSERT INTO shop.items VALUES (4)"),
    (
        "INSERT INTO shop.items SELECT i FROM generate_series(100, 349) i",
        "SAVEPOINT a",
        "INSERT INTO shop.items SELECT i FROM generate_series(400, 649) i",
        "ROLLBACK TO SAVEPOINT a",
        "INSERT INTO shop.items SELECT i FROM generate_series(700, 709) i",
    ),
    ("INSERT INTO shop.items VALUES (5, 'last', 'ok', 'z')",),
)
SETUP = (
    "CREATE SCHEMA shop",
    "CREATE TYPE shop.mood AS ENUM ('sad', 'ok')",
    "CREATE TABLE shop.items (id integer PRIMARY KEY, name text, mood shop.mood, body text)",
    "ALTER TABLE shop.items ALTER body SET STORAGE EXTERNAL",
    "CREATE TABLE shop.whole (id integer PRIMARY KEY, name text, body text)",
    "ALTER TABLE shop.whole ALTER body SET STORAGE EXTERNAL",
    "ALTER TABLE shop.whole REPLICA IDENTITY FULL",
    "INSERT INTO shop.whole VALUES (1, 'm', repeat('y', 3000))",
    "ALTER DATABASE postgres SET logical_decoding_work_mem = '64kB'",
    "CREATE PUBLICATION everything FOR ALL TABLES",
)


def record(version: int) -> list[str]:
    """Run the transactions on a server of its own, and take what it sends for them."""
    with LocalPostgres(find_postgres(version)) as server:
        connection = psycopg2.connect(server.dsn())
        with connection.cursor() as cursor:
            for statement in SETUP:
                cursor.execute(statement)
            connection.commit()
            cursor.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
            connection.commit()
            for transaction in TRANSACTIONS:
                for statement in transaction:
                    cursor.execute(statement)
                connection.commit()
        connection.close()
        link = ReplicationConnection(server.dsn(), connect_timeout_s=10, status_interval_s=10)
        options = {"proto_version": "2", "streaming": "on", "publication_names": "everything"}
        link.start("s", 0, options)
        messages: list[bytes] = []
        # Plain transactions end with C; the streamed one ends with c.
        while [m[:1] for m in messages if m[:1] in (b"C", b"c")] != [b"C", b"C", b"C", b"c", b"C"]:
            messages += link.read(10)
        link.release()
        return [message.hex() for message in messages]


if __name__ == "__main__":
    json.dump(record(int(sys.argv[1])), sys.stdout, indent=0)
