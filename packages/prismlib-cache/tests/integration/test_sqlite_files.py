"""Whatever is at the path: a healthy store opens, anything else is refused and left as it is."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from prism.cache.errors import StoreError, StoreFileError
from prism.cache.store import SQLiteStore, _sqlite_file
from prism.cache.store._sqlite_file import APPLICATION_ID, SCHEMA_VERSION
from prism.cache.store.conformance import Follower, make_record

TENANT, OTHER = b"tenant", b"another tenant"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.db"


def digests(folder: Path) -> dict[str, str]:
    return {
        found.name: hashlib.sha256(found.read_bytes()).hexdigest() if found.is_file() else "folder"
        for found in folder.iterdir()
    }


def refused(path: Path, match: str) -> StoreFileError:
    before = digests(path.parent)
    with pytest.raises(StoreFileError, match=match) as caught:
        SQLiteStore(path)
    assert digests(path.parent) == before
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    return caught.value


def fill(store: SQLiteStore) -> None:
    for number in range(40):
        size = 10 if number % 2 else 9000
        store.put(TENANT, make_record(number, bytes([number]) * size, tags=("blue",)))
        store.put(OTHER, make_record(number, b"other"))
    store.delete(TENANT, [make_record(number).key for number in range(0, 40, 7)])


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    path = tmp_path_factory.mktemp("healthy") / "answers.db"
    with SQLiteStore(path) as store:
        fill(store)
        expected = (store.changes(TENANT, 0).stored, store.changes(OTHER, 0).stored)
    return path.read_bytes(), expected


class TestForeignFiles:
    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_sqlite_file_of_another_program(self, path, journal):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode={journal}")
            connection.execute("PRAGMA application_id=252006674")
            connection.execute("CREATE TABLE things (id)")
        refused(path, "another program .application id 0xf055112")

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_sqlite_file_without_an_application_id(self, path, journal):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode={journal}")
            connection.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY)")
        refused(path, "another program")

    def test_sqlite_file_that_its_program_has_open(self, path):
        """Looking at it must not cost its owner a lock either."""
        with closing(sqlite3.connect(path, isolation_level=None)) as owner:
            owner.execute("CREATE TABLE things (id)")
            owner.execute("BEGIN EXCLUSIVE")
            owner.execute("INSERT INTO things VALUES (1)")
            with pytest.raises(StoreFileError):
                SQLiteStore(path)
            program = (
                "import sqlite3, sys;"
                "sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM things')"
            )
            other = subprocess.run(
                [sys.executable, "-c", program, path], capture_output=True, check=False, timeout=60
            )
            assert b"database is locked" in other.stderr
            owner.execute("COMMIT")

    @pytest.mark.parametrize(
        "content", [b"x", b"some text\n" * 10, b"some text\n" * 1000, b"\0" * 4096]
    )
    def test_no_sqlite_file(self, path, content):
        path.write_bytes(content)
        refused(path, "not a store|not a SQLite file")

    def test_sqlite_header_and_nothing_else(self, path):
        SQLiteStore(path).close()
        path.write_bytes(path.read_bytes()[:100])
        refused(path, "only 100 bytes")

    def test_folder(self, path):
        path.mkdir()
        refused(path, "is not a file")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_pipe(self, path):
        os.mkfifo(path)
        with pytest.raises(StoreFileError, match="is not a file"):
            SQLiteStore(path)

    def test_newer_version(self, path):
        SQLiteStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=delete")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
        refused(path, f"version {SCHEMA_VERSION + 1}.*upgrade")

    @pytest.mark.parametrize("version", [0, -(2**31)])
    def test_impossible_version(self, path, version):
        SQLiteStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=delete")
            connection.execute(f"PRAGMA user_version={version}")
        refused(path, f"its version is {version}")

    def test_more_tables_than_ours(self, path):
        SQLiteStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TRIGGER t AFTER INSERT ON records BEGIN SELECT 1; END")
        refused(path, "tables are not those")


class TestNewFiles:
    def test_missing_folder(self, tmp_path):
        with pytest.raises(StoreError, match="folder does not exist; create it"):
            SQLiteStore(tmp_path / "no" / "answers.db")
        assert list(tmp_path.iterdir()) == []

    def test_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StoreError):
            SQLiteStore(tmp_path / "file" / "answers.db")

    def test_empty_file_is_new(self, path):
        path.touch(mode=0o640)
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_left_over_log_of_a_removed_file_is_not_read(self, path, tmp_path):
        with SQLiteStore(path) as store:
            fill(store)
            shutil.copy(tmp_path / "answers.db-wal", tmp_path / "log")
        path.unlink()
        (tmp_path / "log").rename(tmp_path / "answers.db-wal")
        with SQLiteStore(path) as store:
            assert store.changes(TENANT, 0).stored == ()

    @pytest.mark.parametrize("name", ["ü ?#%41&mode=ro.db", "a'b\"c;.db"])
    def test_odd_names(self, tmp_path, name):
        with SQLiteStore(tmp_path / name) as store:
            store.put(TENANT, make_record(1))
        assert digests(tmp_path).keys() == {name}

    def test_working_folder_may_change(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with SQLiteStore("answers.db") as store:
            monkeypatch.chdir("/")
            store.put(TENANT, make_record(1))
            assert not store.has_changed(store.changes(TENANT, 0).position)

    def test_only_the_owner_can_read(self, path, tmp_path):
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(1))
            modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()}
        assert modes == dict.fromkeys(["answers.db", "answers.db-wal", "answers.db-shm"], 0o600)

    def test_file_says_whose_it_is(self, path):
        SQLiteStore(path).close()
        assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"PRSM"

    @pytest.mark.parametrize("pages", [0, 1, 3])
    def test_killed_before_the_commit(self, path, tmp_path, pages):
        """So many pages of the first transaction are written, and its journal lies beside."""
        with closing(sqlite3.connect(tmp_path / "writing", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _sqlite_file._migrate(connection, 0)
            # Makes SQLite write out the journal before the commit, as the commit does.
            connection.execute("PRAGMA cache_size=1")
            connection.execute("CREATE TABLE filler AS SELECT zeroblob(40000) AS zeros")
            shutil.copy(tmp_path / "writing-journal", tmp_path / "answers.db-journal")
            connection.execute("ROLLBACK")
            _sqlite_file._migrate(connection, 0)
        path.write_bytes((tmp_path / "writing").read_bytes()[: pages * 4096])
        assert (tmp_path / "answers.db-journal").stat().st_size >= 512
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(1))
            assert store.changes(TENANT, 0).stored == (make_record(1),)
        assert not (tmp_path / "answers.db-journal").exists()

    def test_killed_before_the_switch_to_the_log(self, path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _sqlite_file._migrate(connection, 0)
            connection.execute("COMMIT")
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(1))
        assert path.read_bytes()[18:20] == b"\2\2"


class TestDamage:
    @pytest.mark.parametrize("seed", range(6))
    def test_flipped_bytes(self, tmp_path, healthy, seed):
        content, expected = healthy
        rng = random.Random(seed)
        outcomes = set()
        for index in range(40):
            damaged = bytearray(content)
            # The first page, where the header and the schema are, gets its share.
            offset = rng.randrange(4096 if index % 3 == 0 else len(content))
            damaged[offset] ^= rng.randrange(1, 256)
            outcomes.add(self.is_right_or_refused(tmp_path / str(index), damaged, expected))
        assert outcomes >= {"right", "refused at opening"}

    def test_flipped_bytes_of_an_answer(self, tmp_path, healthy):
        content, expected = healthy
        offset = content.index(bytes([2]) * 1000)
        damaged = bytearray(content)
        damaged[offset + 500] ^= 1
        outcome = self.is_right_or_refused(tmp_path / "folder", damaged, expected)
        assert outcome == "refused at loading"

    def test_flipped_bytes_of_an_index(self, tmp_path, healthy):
        """A record would be found by one way and not by another; a put would make a second one."""
        content, expected = healthy
        entry = OTHER + make_record(3).key
        offsets = [at for at in range(len(content)) if content.startswith(entry, at)]
        assert len(offsets) >= 2, "once in the table and once in the index"
        for offset in offsets:
            damaged = bytearray(content)
            damaged[offset + len(entry) - 1] ^= 0x80
            folder = tmp_path / str(offset)
            assert self.is_right_or_refused(folder, damaged, expected) == "refused at opening"

    def test_table_name_that_is_no_text(self, tmp_path, healthy):
        """SQLite quotes it in its message, which Python then cannot decode."""
        content, expected = healthy
        damaged = content.replace(b"CREATE TABLE meta", b"CREATE TABLE me\xfba", 1)
        outcome = self.is_right_or_refused(tmp_path / "folder", damaged, expected)
        assert outcome == "refused at opening"

    def test_truncated(self, tmp_path, healthy):
        content, expected = healthy
        rng = random.Random(7)
        sizes = [1, 99, 100, 511, 512, 4095, 4096, len(content) - 1, len(content) - 4096]
        for index, size in enumerate(sizes + [rng.randrange(1, len(content)) for _ in range(20)]):
            folder = tmp_path / str(index)
            assert self.is_right_or_refused(folder, content[:size], expected) != "right"

    def test_zeroed_pages(self, tmp_path, healthy):
        content, expected = healthy
        for page in range(0, len(content) // 4096, 3):
            damaged = bytearray(content)
            damaged[page * 4096 : (page + 1) * 4096] = bytes(4096)
            self.is_right_or_refused(tmp_path / str(page), damaged, expected)

    def is_right_or_refused(self, folder: Path, content: bytes | bytearray, expected) -> str:
        folder.mkdir()
        path = folder / "answers.db"
        path.write_bytes(content)
        before = digests(folder)
        try:
            store = SQLiteStore(path)
        except StoreFileError:
            assert digests(folder) == before
            return "refused at opening"
        try:
            found = (store.changes(TENANT, 0).stored, store.changes(OTHER, 0).stored)
        except StoreFileError:
            store.close()
            assert digests(folder) == before
            return "refused at loading"
        assert found == expected
        store.close()
        return "right"

    def test_with_the_log_of_a_killed_process(self, path, tmp_path):
        """The file is damaged and a log lies beside it: neither is changed."""
        with SQLiteStore(path) as store:
            fill(store)
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(99))
            for found in tmp_path.glob("answers.db*"):
                shutil.copy(found, crashed)
        victim = crashed / "answers.db"
        whole = victim.read_bytes()
        victim.write_bytes(whole[:8192] + bytes(8192) + whole[16384:])
        (crashed / "answers.db-shm").unlink()
        before = digests(crashed)
        with pytest.raises(StoreFileError, match="damaged"):
            SQLiteStore(victim)
        after = digests(crashed)
        # An index that SQLite makes of the log, no content.
        after.pop("answers.db-shm", None)
        assert after == before
        victim.write_bytes(whole)
        with SQLiteStore(victim) as store:
            assert make_record(99) in store.changes(TENANT, 0).stored

    def test_damaged_log_ends_early(self, path, tmp_path):
        """SQLite takes a log with a bad frame for one that ends there: the rest is right."""
        crashed = tmp_path / "crashed"
        with SQLiteStore(path) as store:
            numbers = range(30)
            for number in numbers:
                store.put(TENANT, make_record(number))
            crashed.mkdir()
            for found in tmp_path.glob("answers.db*"):
                shutil.copy(found, crashed)
        log = bytearray((crashed / "answers.db-wal").read_bytes())
        log[len(log) // 2] ^= 0xFF
        (crashed / "answers.db-wal").write_bytes(log)
        (crashed / "answers.db-shm").unlink()
        with SQLiteStore(crashed / "answers.db") as store:
            found = store.changes(TENANT, 0).stored
        assert 0 < len(found) < 30
        assert found == tuple(make_record(number) for number in range(len(found)))

    def test_damage_done_while_open(self, path):
        with SQLiteStore(path) as store:
            fill(store)
        with SQLiteStore(path) as store:
            with closing(sqlite3.connect(path)) as vandal, vandal:
                vandal.execute("UPDATE records SET question = 'what else?' WHERE seq % 3 = 0")
            with pytest.raises(StoreFileError, match="not as it was written"):
                store.changes(TENANT, 0)


class TestLife:
    def test_removed_file_is_noticed(self, path):
        with SQLiteStore(path) as store:
            follower = Follower(TENANT)
            fill(store)
            follower.follow(store)
            path.unlink()
            assert store.has_changed(follower.position)
            assert follower.follow(store).is_reset
            assert follower.records == {}
            store.put(TENANT, make_record(1))
            with SQLiteStore(path) as other:
                assert other.changes(TENANT, 0).stored == (make_record(1),)

    def test_positions_of_a_removed_file_are_not_believed(self, path):
        with SQLiteStore(path) as store:
            fill(store)
            position = store.changes(TENANT, 0).position
        path.unlink()
        with SQLiteStore(path) as store:
            fill(store)
            fill(store)
            assert store.changes(TENANT, position).is_reset

    def test_log_does_not_grow_without_bound(self, path, tmp_path):
        with SQLiteStore(path) as store:
            for number in range(1500):
                store.put(TENANT, make_record(number % 10, bytes(12_000)))
                store.changes(TENANT, 0)
            assert (tmp_path / "answers.db-wal").stat().st_size < 8 << 20
        assert digests(tmp_path).keys() == {"answers.db"}
        # And pages of replaced records are used again.
        assert path.stat().st_size < 1 << 20

    def test_deleted_text_is_gone_from_the_closed_file(self, path):
        question = "a question nobody else is to see"
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(1, b"hidden" * 2000, question=question))
            store.put(TENANT, make_record(2))
        assert question.encode() in path.read_bytes()
        with SQLiteStore(path) as store:
            store.delete(TENANT, [make_record(1).key])
        assert question.encode() not in path.read_bytes()
        assert b"hidden" not in path.read_bytes()

    def test_full_disk_changes_nothing(self, path):
        with SQLiteStore(path) as store:
            store.put(TENANT, make_record(1, b"old"))
            before = store.changes(TENANT, 0)
            with store._borrow(store._writer) as connection:
                connection.execute("PRAGMA max_page_count=20")
            with pytest.raises(StoreError, match="disk is full"):
                store.put(TENANT, make_record(1, bytes(200_000)))
            assert store.changes(TENANT, 0) == before
            assert not store.has_changed(before.position)
            store.put(TENANT, make_record(2))

    def test_failing_file_system_changes_nothing(self, path):
        """With a limit on the size of files, every write beyond it fails."""
        pytest.importorskip("resource")
        program = """
import resource, sys
from prism.cache.errors import StoreError
from prism.cache.store import SQLiteStore
from prism.cache.store.conformance import make_record
store = SQLiteStore(sys.argv[1])
store.put(b"tenant", make_record(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
number = 1
try:
    while True:
        store.put(b"tenant", make_record(number + 1))
        number += 1
except StoreError as error:
    assert "failed" in str(error) or "full" in str(error), error
assert len(store.changes(b"tenant", 0).stored) == number > 5
print(number)
"""
        run = subprocess.run(
            [sys.executable, "-c", program, path],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr.decode()
        with SQLiteStore(path) as store:
            assert len(store.changes(TENANT, 0).stored) == int(run.stdout)


@contextlib.contextmanager
def nobody():
    """Be a user who owns nothing, if this one may do anything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="this system has no such users")
class TestPermissions:
    @pytest.fixture
    def folder(self):
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755)
            yield Path(name)

    def test_folder_may_not_be_written(self, folder):
        folder.chmod(0o555)
        with nobody(), pytest.raises(StoreError, match="cannot be created"):
            SQLiteStore(folder / "answers.db")
        assert digests(folder) == {}

    def test_file_may_not_be_read(self, folder):
        SQLiteStore(folder / "answers.db").close()
        (folder / "answers.db").chmod(0)
        with nobody(), pytest.raises(StoreError, match="cannot be opened"):
            SQLiteStore(folder / "answers.db")

    def test_file_may_not_be_written(self, folder):
        SQLiteStore(folder / "answers.db").close()
        (folder / "answers.db").chmod(0o444)
        folder.chmod(0o555)
        before = digests(folder)
        with nobody(), pytest.raises(StoreError, match=r"cannot be opened|read-only"):
            SQLiteStore(folder / "answers.db")
        assert digests(folder) == before
