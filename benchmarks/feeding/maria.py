"""MariaDB's binary log to typed changes, beside `mariadb-binlog --raw` and mysql-replication.

All three read the same transactions over the network from the same server, in turns: 1,000 rows of
five columns in each. `mariadb-binlog --raw` writes the events to a file as they come and reads none
of them: what is possible. mysql-replication is what Python programs use; it makes every value, as
"all texts made" does, where "our decode" makes those that are asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import track

import machine
from feeding.goals import Findings, goals
from feeding.rate import Comparison, Rate, Run, in_process, timed_program
from feeding.report import report
from goal import goal_table
from local_mariadb import LocalMariaDB
from prism.wrapper.sources import Changes, Committed, SnapshotDone
from prism.wrapper.sources.mysql import MySQLSettings, MySQLSource
from prism.wrapper.sources.mysql._locate import want_compiled

__all__ = ["main"]

PACKAGES = ("prismlib-wrapper", "numpy", "numba", "PyMySQL", "mysql-replication")
PART = "decode"
OURS, TEXTS, PLAIN = "our decode", "our decode, all texts made", "our decode, without numba"
RAW, PEER = "mariadb-binlog --raw", "mysql-replication"
LEAST_RAW, LEAST_PEER = 0.6, 10.0
_COMMIT = 1_000
_TABLE = (
    "CREATE TABLE items (id bigint PRIMARY KEY, name varchar(100), body text, price double, "
    "stock int) CHARACTER SET utf8mb4"
)


def main(options: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    runs: dict[str, list[Run]] = {who: [] for who in (RAW, OURS, TEXTS, PLAIN, PEER)}
    load_before = machine.load()
    rows = options.rows
    with LocalMariaDB({"innodb-buffer-pool-size": "256M"}) as server:
        server.execute("CREATE DATABASE shop")
        server.execute(_TABLE, database="shop")
        dsn = server.dsn(database="shop")
        resume = in_process(begin, dsn)
        server.execute("FLUSH BINARY LOGS")
        first = _last_log(server)
        for start in track(range(0, rows, _COMMIT), "writing rows", console=Console(stderr=True)):
            last = min(rows, start + _COMMIT)
            server.execute(
                "INSERT INTO items SELECT seq, CONCAT('item ', seq), "
                "CONCAT('what there is to say about it: ', MD5(seq), MD5(seq + 1)), seq / 7, seq "
                f"FROM seq_{start + 1}_to_{last}",
                database="shop",
            )
        for _ in range(options.repeats):
            runs[RAW].append(receive(server, first, rows))
            for who, texts, compiled in (
                (OURS, False, True),
                (TEXTS, True, True),
                (PLAIN, True, False),
            ):
                run = in_process(decode, dsn, resume, rows=rows, texts=texts, compiled=compiled)
                runs[who].append(run)
            few = min(rows, 50_000)
            runs[PEER].append(in_process(peer, server.port, resume, rows=few))
        version = str(_ask(server, "SELECT VERSION()"))
    found = Findings()
    found.rates += [Rate.of(PART, who, some) for who, some in runs.items()]
    found.comparisons += [
        Comparison.of(PART, (OURS, runs[OURS]), (RAW, runs[RAW]), LEAST_RAW),
        Comparison.of(PART, (OURS, runs[OURS]), (PEER, runs[PEER]), LEAST_PEER),
        Comparison.of(PART, (TEXTS, runs[TEXTS]), (RAW, runs[RAW]), None),
        Comparison.of(PART, (TEXTS, runs[TEXTS]), (PEER, runs[PEER]), None),
        Comparison.of(PART, (PLAIN, runs[PLAIN]), (PEER, runs[PEER]), None),
    ]
    reached = list(goals(found))
    document = {
        "command": "hatch run bench feed --source mariadb",
        **machine.facts(PACKAGES),
        "mariadb": version,
        "load": {"before": load_before, "after": machine.load()},
        "options": {"rows": rows, "repeats": options.repeats, "quick": options.quick},
        "void": options.quick,
        "goals": [asdict(goal) for goal in reached],
        "rates": [asdict(rate) for rate in found.rates],
        "comparisons": [asdict(one) for one in found.comparisons],
    }
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        path = options.output / "feed-mariadb.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
    if options.json:
        print(json.dumps(document))
        return 0
    terminal = Console()
    terminal.width = max(terminal.width, 120)
    terminal.print(f"{document['cpu']}, {document['cores']} cores, MariaDB {version}")
    for table in report(found):
        terminal.print(table)
    terminal.print(goal_table(reached))
    if options.quick:
        terminal.print("[bold]--quick: every figure above is void[/bold]")
    return 0


def begin(dsn: str) -> str:
    """Let our source make its snapshot, and give where its stream goes on."""
    with closing(MySQLSource(_settings(dsn))) as source:
        for event in source.events(None):
            if isinstance(event, SnapshotDone):
                return event.position
    raise RuntimeError("the source ended without a snapshot")


def receive(server: LocalMariaDB, first: str, rows: int) -> Run:
    """Let mariadb-binlog copy the log from a file on."""
    with TemporaryDirectory() as folder:
        return timed_program(
            [
                *("mariadb-binlog", "--no-defaults", "--read-from-remote-server", "--raw"),
                *("--host=127.0.0.1", f"--port={server.port}", "--user=root"),
                *(f"--result-file={Path(folder)}/", "--to-last-log", first),
            ],
            rows,
        )


def decode(dsn: str, resume: str, *, rows: int, texts: bool, compiled: bool) -> Run:
    """Let our source read that many changes from a place of the log.

    Args:
        dsn: Which server.
        resume: What `begin` gave.
        rows: How many changes to wait for.
        texts: Whether to make the text of every value.
        compiled: Whether to wait for numba first; else it is not used at all.
    """
    if compiled:
        want_compiled(wait=True)
    else:
        os.environ["PRISM_NO_JIT"] = "1"
    done = 0
    start, cpu = time.perf_counter(), time.process_time()
    with closing(MySQLSource(_settings(dsn))) as source:
        for event in source.events(resume):
            if isinstance(event, Changes):
                done += len(event.changes)
                if texts:
                    for change in event.changes:
                        _ = change.values
            elif isinstance(event, Committed) and done >= rows:
                break
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    if done != rows:
        raise RuntimeError(f"{done:,} changes were decoded, not {rows:,}")
    return Run(rows, wall_s, cpu_s)


def peer(port: int, resume: str, *, rows: int) -> Run:
    """Let mysql-replication read that many rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymysqlreplication import BinLogStreamReader
        from pymysqlreplication.row_event import WriteRowsEvent

        start, cpu = time.perf_counter(), time.process_time()
        stream = BinLogStreamReader(
            connection_settings={"host": "127.0.0.1", "port": port, "user": "root"},
            server_id=4242,
            blocking=True,
            is_mariadb=True,
            auto_position=resume.split("/")[1],
            only_events=[WriteRowsEvent],
        )
        done = 0
        for event in stream:
            done += len(event.rows)
            if done >= rows:
                break
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        stream.close()
    return Run(done, wall_s, cpu_s)


def _settings(dsn: str) -> MySQLSettings:
    return MySQLSettings(dsn=dsn, tables=("items",), name="benchmark")


def _ask(server: LocalMariaDB, sql: str) -> object:
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()[-1][0]


def _last_log(server: LocalMariaDB) -> str:
    return str(_ask(server, "SHOW BINARY LOGS"))
