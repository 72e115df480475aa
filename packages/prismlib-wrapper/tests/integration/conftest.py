"""Servers that the tests of a folder share; databases that they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_databases import Database, database
from wrapper_runs import PRODUCTS, Wrapper

from prism.wrapper._local_postgres import LocalPostgres, find_postgres


@pytest.fixture(scope="session")
def postgres18() -> Iterator[LocalPostgres]:
    with LocalPostgres(find_postgres(18)) as server:
        yield server


@pytest.fixture
def shop(postgres18: LocalPostgres) -> Iterator[Database]:
    """A database with a table of products, empty."""
    with database(postgres18) as made:
        made.execute(PRODUCTS)
        yield made


@pytest.fixture
def wrapper(shop: Database, tmp_path: Path) -> Iterator[Wrapper]:
    """A wrapper for it, not started."""
    made = Wrapper(tmp_path, shop.admin_dsn, slot=shop.slot)
    yield made
    made.kill()
