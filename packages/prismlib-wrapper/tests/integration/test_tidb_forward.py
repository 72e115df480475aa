"""The way from TiCDC's storage sink through the forwarder into a source."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tidb_double import TidbDouble, canal_messages
from tidb_store import Store

from prism.wrapper.sources.conformance import Follower, Replica
from prism.wrapper.sources.errors import SourceAccessError, SourceConfigurationError
from prism.wrapper.sources.tidb import TidbSettings, TidbSource, decode_canal
from prism.wrapper.sources.tidb._forward import Forwarder
from prism.wrapper.sources.tidb._storage import StorageFolder

_TOKEN = "a-token-of-the-tests"  # noqa: S105


class _Sink:
    """Writes a store's commits as TiCDC's storage sink does."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self._written = 0
        self._files: dict[Path, int] = {}
        folder.mkdir()

    def flush(self) -> None:
        ts = self.store.now()
        versions: dict[str, int] = {}
        lines: dict[Path, list[bytes]] = {}
        for number, commit in enumerate(self.store.commits):
            if commit.statement is not None:
                said = commit.statement
                versions[said.table] = commit.ts
                if number >= self._written:
                    meta = self.folder / "shop" / said.table / "meta"
                    meta.mkdir(parents=True, exist_ok=True)
                    content = {
                        "Table": said.table,
                        "Schema": "shop",
                        "Version": 1,
                        "TableVersion": commit.ts,
                        "Query": said.query,
                        "Type": said.number,
                        "TableColumns": [],
                    }
                    (meta / f"schema_{commit.ts}_3131721815.json").write_text(json.dumps(content))
            elif number >= self._written:
                for table, message in canal_messages(commit, "shop"):
                    place = self.folder / "shop" / table / str(versions[table]) / "2026-01-02"
                    lines.setdefault(place, []).append(message)
        for place, messages in lines.items():
            place.mkdir(parents=True, exist_ok=True)
            self._files[place] = self._files.get(place, 0) + 1
            path = place / f"CDC{self._files[place]:06d}.json"
            path.write_bytes(b"".join(message + b"\r\n" for message in messages))
        (self.folder / "metadata").write_text(json.dumps({"checkpoint-ts": ts}))
        self._written = len(self.store.commits)


def test_a_folder_reaches_the_replica(tmp_path: Path) -> None:
    store = Store()
    database = TidbDouble(store)
    sink = _Sink(tmp_path / "cdc", store)
    store.execute(["CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40))"])
    store.execute([f"INSERT INTO items VALUES ({i}, 'name {i}')" for i in range(50)])
    source = TidbSource(
        TidbSettings(dsn=database.dsn(), spool=tmp_path / "spool", token=_TOKEN, listen_port=0)
    )
    replica = Replica()
    follower = Follower(source, replica)

    def forwarding(state: str, token: str = _TOKEN) -> Forwarder:
        folder = StorageFolder(sink.folder, tmp_path / state, batch_bytes=500)
        url = f"http://127.0.0.1:{source.port}"
        return made.enter_context(closing(Forwarder(folder, url=url, token=token)))

    made = ExitStack()
    try:
        follower.wait_for(lambda: bool(source.port), "the endpoint")
        forwarder = forwarding("state")
        for step in (
            ["UPDATE items SET name = 'changed' WHERE id < 20", "DELETE FROM items WHERE id = 30"],
            ["ALTER TABLE items ADD COLUMN stock INTEGER"],
            ["UPDATE items SET stock = id WHERE id > 10"],
            ["TRUNCATE TABLE items"],
            ["INSERT INTO items VALUES (1, 'ä', 5)"],
        ):
            sink.flush()
            forwarder.push_once()
            store.execute(step)
        sink.flush()
        forwarder.push_once()
        follower.wait_for(
            lambda: replica.rows.get("items") == store.read("items"), "the replica is the table"
        )
        assert len(replica.snapshots) == 1
        # Who remembers nothing pushes all of it again, and nothing changes.
        forwarding("other").push_once()
        store.execute(["INSERT INTO items VALUES (2, 'b', 6)"])
        sink.flush()
        before = forwarder.pushed
        forwarder.push_once()
        assert forwarder.pushed == before + 2  # the row and the mark, nothing else
        follower.wait_for(
            lambda: replica.rows.get("items") == store.read("items"), "the replica is the table"
        )
        with pytest.raises(SourceAccessError):
            forwarding("third", "another").push_once()
    finally:
        made.close()
        follower.close()
        database.close()
        store.close()


def test_a_half_written_file_is_read_when_it_is_whole(tmp_path: Path) -> None:
    cdc = tmp_path / "cdc"
    place = cdc / "shop" / "t" / "5"
    place.mkdir(parents=True)
    line = (
        b'{"database":"shop","table":"t","type":"INSERT","isDdl":false,"mysqlType":{"id":"int"},'
        b'"data":[{"id":"%d"}],"_tidb":{"commitTs":%d}}'
    )
    path = place / "CDC000001.json"
    path.write_bytes(line % (1, 7) + b"\r\n" + (line % (2, 8))[:-3])
    folder = StorageFolder(cdc, tmp_path / "state", batch_bytes=1 << 20)
    seen = [event.ts for body in folder.batches() for event in decode_canal(body)]
    assert seen == [7]
    path.write_bytes(line % (1, 7) + b"\r\n" + line % (2, 8))
    folder = StorageFolder(cdc, tmp_path / "state", batch_bytes=1 << 20)
    seen = [event.ts for body in folder.batches() for event in decode_canal(body)]
    assert seen == [8]
    assert list(folder.batches()) == []


@pytest.mark.parametrize("url", ["http://db.example:1", "ftp://127.0.0.1", "127.0.0.1:50061"])
def test_a_url_that_cannot_be_used_is_refused(tmp_path: Path, url: str) -> None:
    folder = StorageFolder(tmp_path, tmp_path / "state", batch_bytes=1)
    with pytest.raises(SourceConfigurationError, match="url"):
        Forwarder(folder, url=url, token=_TOKEN)
