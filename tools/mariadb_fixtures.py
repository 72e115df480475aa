"""A real MariaDB for tests: one per test run (and worker), in a temporary folder.

A plugin of pytest: the root's conftest.py names it. A server that is missing is installed, which is
said aloud; where it cannot be, the test that asks fails.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_mariadb import LocalMariaDB

__all__ = ["mariadb"]


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Iterator[LocalMariaDB]:
    """MariaDB from the system's packages, with a binary log of rows and their names."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        subprocess.run([sys.executable, Path(__file__).with_name("servers.py"), "mariadb"])
    with LocalMariaDB() as server:
        yield server
