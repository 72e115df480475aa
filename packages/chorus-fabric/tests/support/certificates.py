"""Authorities and nodes for tests, with their files as `chorus-fabric` writes them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from chorus_fabric import Identity, TLSConfig
from chorus_fabric._authority import KeyPair, issue, new_authority

DAY = dt.timedelta(days=1)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass
class Authority:
    """Issues nodes' folders."""

    folder: Path
    pair: KeyPair = field(init=False)

    def __post_init__(self) -> None:
        self.pair = new_authority(name="tests", now=now() - 9 * DAY, lifetime=99 * DAY)

    def node(
        self, tenant_id: str, node: str, *, at: dt.datetime | None = None, folder: str = ""
    ) -> TLSConfig:
        """Write a node's files, over those that are there; `at` is when they were issued."""
        pair = issue(self.pair, Identity(tenant_id, node), now=at or now(), lifetime=DAY)
        place = self.folder / (folder or f"{node}-of-{len(list(self.folder.iterdir()))}")
        place.mkdir(parents=True, exist_ok=True)
        (place / "node.key").write_bytes(pair.key)
        (place / "node.pem").write_bytes(pair.certificate)
        (place / "ca.pem").write_bytes(self.pair.certificate)
        return TLSConfig.in_folder(place)
