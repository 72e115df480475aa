"""Pairs of sessions and frames to send over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chorus_fabric import (
    BytesColumn,
    Frame,
    FrameKind,
    Initiator,
    Responder,
    Session,
    SessionPolicy,
    TextColumn,
)

SECRET = "held by all nodes of a tenant"  # noqa: S105  of the tests alone


def counted_bytes(seed: bytes = b"") -> Callable[[int], bytes]:
    """Give bytes that are the same in each run: for tests that compare what comes out."""
    drawn = 0

    def draw(size: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(seed + drawn.to_bytes(4, "big")).digest(size)

    return draw


@dataclass
class Pair:
    """Both sides of a session: the wrapper sends its stream to the driver."""

    wrapper: Session
    driver: Session

    @classmethod
    def shake_hands(
        cls,
        *,
        secret: bytes | str | None = SECRET,
        tenant_id: str = "acme",
        policy: SessionPolicy | None = None,
        seed: bytes = b"",
        driver_seal: bool | None = None,
        wrapper_seal: bool | None = None,
    ) -> Pair:
        policy = policy or SessionPolicy()
        rng = counted_bytes(seed)
        initiator = Initiator(
            tenant_id=tenant_id, sender="app-1", secret=secret, policy=policy, rng=rng,
            seal=driver_seal,
        )  # fmt: skip
        responder = Responder(
            tenant_id=tenant_id, sender="db-1", secret=secret, policy=policy, rng=rng,
            seal=wrapper_seal,
        )  # fmt: skip
        reply, wrapper = responder.answer(initiator.hello(), now=0.0)
        return cls(wrapper, initiator.finish(reply, now=0.0))

    def renew(self, now: float) -> None:
        renewal = self.driver.renew()
        renewal.finish(self.wrapper.answer(renewal.hello(), now=now), now=now)


def frame(*, rows: int = 3, dims: int = 64, seq: int = 7, **changes: object) -> Frame:
    numbers = np.random.default_rng(seq).standard_normal((rows, dims)).astype(np.float32)
    parts: dict[str, object] = {
        "kind": FrameKind.ROWS,
        "tenant_id": "acme",
        "sender": "db-1",
        "stream": 2,
        "epoch": 5,
        "seq": seq,
        "vectors": numbers,
        "ids": TextColumn.from_strings([f"product-{seq}-{row}" for row in range(rows)]),
        "texts": TextColumn.from_strings([f"Gerät {row} für 価格" for row in range(rows)]),
        "metadata": BytesColumn.from_items([b'{"price":%d}' % row for row in range(rows)]),
        "seqs": np.arange(rows, dtype=np.uint64),
    }
    return Frame(**(parts | changes))  # type: ignore[arg-type]


def same(opened: Frame, sent: Frame) -> bool:
    return (
        (opened.kind, opened.tenant_id, opened.sender, opened.stream, opened.epoch, opened.seq)
        == (sent.kind, sent.tenant_id, sent.sender, sent.stream, sent.epoch, sent.seq)
        and opened.flags == sent.flags
        and opened.ids == sent.ids
        and opened.texts == sent.texts
        and opened.metadata == sent.metadata
        and np.array_equal(opened.seqs, sent.seqs)
        and opened.rows == sent.rows
        and np.allclose(opened.vectors.ravel(), sent.vectors.ravel(), rtol=1e-4, atol=1e-5)
    )
