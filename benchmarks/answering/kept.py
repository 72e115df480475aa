"""Results that outlive a run: findings of earlier runs, and what one that was stopped had done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

import prism.cache
import prismresonance
from answering.goals import Findings

Row = TypeVar("Row")


def findings(document: Mapping[str, Any]) -> Findings:
    """Restore what a run wrote.

    Raises:
        TypeError: It was written by another version of the benchmark.
    """
    names = [field.name for field in dataclasses.fields(Findings)]
    return made(Findings, {name: document[name] for name in names if name in document})


def made(kind: type[Row], values: Mapping[str, Any]) -> Row:
    """Make a dataclass from what `asdict` made of it."""
    types_of = typing.get_type_hints(kind)
    return kind(**{name: _restored(types_of[name], value) for name, value in values.items()})


def _restored(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, types.UnionType):
        return _restored(next(one for one in typing.get_args(kind) if one is not type(None)), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return made(kind, value)
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        return [_restored(item, one) for one in value]
    if typing.get_origin(kind) is tuple:
        return tuple(value)
    return value


class Journal(Generic[Row]):
    """Keeps each result as soon as it is there, so that a run can go on after a stop.

    A result is found again only while cache, embedders and benchmark are the very same.

    Args:
        file: Where; it is made with the first result.
        kind: A dataclass: what a result is a list of.
        settings: What else a result depends on.
    """

    def __init__(self, file: Path, kind: type[Row], settings: Mapping[str, object]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._kind = file, kind
        self._code = _digest(
            [
                *(Path(path) for path in prism.cache.__path__),
                *(Path(path) for path in prismresonance.__path__),
                Path(__file__).parent,
            ],
            settings,
        )
        self._kept: dict[str, list[dict[str, Any]]] = {}
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                # A run that was killed may have left half a line.
                if line.endswith("}") and (row := json.loads(line))["code"] == self._code:
                    self._kept[row["key"]] = row["rows"]

    def get(self, key: Sequence[object]) -> list[Row] | None:
        """Give what was kept under this key."""
        found = self._kept.get(json.dumps(key))
        return None if found is None else [made(self._kind, row) for row in found]

    def put(self, key: Sequence[object], result: Iterable[Row]) -> None:
        """Keep a result."""
        rows = [_plain(row) for row in result]
        self._kept[json.dumps(key)] = rows
        line = json.dumps({"code": self._code, "key": json.dumps(key), "rows": rows})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _plain(row: object) -> dict[str, Any]:
    assert dataclasses.is_dataclass(row) and not isinstance(row, type)  # noqa: PT018, S101  a Row
    return asdict(row)


def _digest(folders: Iterable[Path], settings: Mapping[str, object]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
