from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chorus_fabric import BytesColumn, FeedPosition, StreamSchema, TextColumn
from prism.ffi._replica import ReplicaKeeper
from prism.ffi._snapshot_file import (
    SnapshotHead,
    load_snapshot,
    save_snapshot,
    snapshot_tenant,
)
from prism.ffi.errors import SnapshotFileError
from prismresonance import PrismProjector


def keeper() -> ReplicaKeeper:
    return ReplicaKeeper(projector=PrismProjector(tenant_id="t"), indexed_columns={})


def filled(rows: int = 5000) -> ReplicaKeeper:
    made = keeper()
    rng = np.random.default_rng(3)
    for stream, name in ((1, "a"), (4, "b")):
        table = made.describe(StreamSchema(stream=stream, name=name, dim=8))
        vectors = rng.normal(size=(rows, 8)).astype(np.float32)
        vectors[0] = 0.0
        table.upsert(
            [f"{name}{n} é" for n in range(rows)],
            TextColumn.from_strings(f"text {n} ü" for n in range(rows)),
            BytesColumn.from_items(b'{"n": %d}' % n for n in range(rows)),
            vectors,
            np.arange(1, rows + 1, dtype=np.uint64),
        )
    return made


def head_of(made: ReplicaKeeper, **more: object) -> SnapshotHead:
    values: dict[str, object] = {
        "tenant_id": "t",
        "model_id": "m",
        "tables": (),
        "position": FeedPosition(7, 5000, 2),
        "schemas": tuple(table.schema for table in made.shown.tables.values()),
        **more,
    }
    return SnapshotHead(**values)  # type: ignore[arg-type]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "replica.snapshot"
    saved = filled()
    assert save_snapshot(path, head_of(saved), saved.shown) == 10_000
    loaded = keeper()
    head = load_snapshot(path, loaded, expected=head_of(loaded))
    assert head == head_of(saved)
    assert loaded.position == head.position
    assert snapshot_tenant(path) == "t"
    for stream, table in saved.shown.tables.items():
        other = loaded.shown.tables[stream]
        assert other.rows.keys() == table.rows.keys()
        for row_id in (*list(table.rows)[:3], list(table.rows)[-1]):
            mine, theirs = table.rows[row_id], other.rows[row_id]
            assert (mine.text_repr, mine.seq, mine.columns) == (
                theirs.text_repr,
                theirs.seq,
                theirs.columns,
            )
        rows = list(table.rows.values())
        again = [other.rows[row.row_id] for row in rows]
        np.testing.assert_allclose(table.vectors(rows), other.vectors(again), atol=1e-4)
        query = np.ones(8, np.float32)
        args = {"top_k": 5, "threshold": None, "where": None}
        assert [m.row_id for m in table.query(query, **args)] == [  # type: ignore[arg-type]
            m.row_id
            for m in other.query(query, **args)  # type: ignore[arg-type]
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "s"
    made = filled(40)
    save_snapshot(path, head_of(made), made.shown)
    return path.read_bytes()


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_file_is_refused_as_a_whole(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["cut", "flip", "longer", "other"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    content = {
        "cut": whole[:place],
        "flip": whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :],
        "longer": whole + whole[place:],
        "other": whole[place:],
    }[kind]
    if content == whole:
        return
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    made = keeper()
    with pytest.raises(SnapshotFileError):
        load_snapshot(path, made, expected=head_of(made))


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    made = filled(3)
    save_snapshot(path, head_of(made), made.shown)
    for expected in (head_of(made, tenant_id="other"), head_of(made, tables=("a",))):
        with pytest.raises(SnapshotFileError, match="wanted are"):
            load_snapshot(path, keeper(), expected=expected)
    with pytest.raises(FileNotFoundError):
        load_snapshot(tmp_path / "none", keeper(), expected=head_of(made))


def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    made = filled(3)
    save_snapshot(path, head_of(made), made.shown)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prism.ffi._snapshot_file.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_snapshot(path, head_of(made), made.shown)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["s"]
