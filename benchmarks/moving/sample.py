"""What is moved: rows of 64 components with 130 bytes of text."""

from __future__ import annotations

from functools import cache

import numpy as np

from chorus_fabric import Frame, FrameKind, Initiator, Responder, Session, TextColumn

DIMS = 64
TEXT_BYTES = 130
TENANT, WRAPPER, APP = "bench", "db-1", "app-1"
SECRET = "not secret: both ends of a benchmark hold it"  # noqa: S105
_WORDS = "small blue steel widget with a handle made for kitchens and workshops".split()


def texts(rows: int) -> list[str]:
    """Make texts of 130 bytes."""
    chance = np.random.default_rng(rows)
    long = (" ".join(chance.choice(_WORDS, 40)) for _ in range(rows))
    return [text[:TEXT_BYTES] for text in long]


@cache
def sample_frame(rows: int) -> Frame:
    """Make a frame of so many rows."""
    vectors = np.random.default_rng(rows).standard_normal((rows, DIMS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Frame(
        kind=FrameKind.ROWS,
        tenant_id=TENANT,
        sender=WRAPPER,
        stream=1,
        epoch=1,
        seq=rows,
        vectors=vectors,
        ids=TextColumn.from_strings([f"product-{row:08d}" for row in range(rows)]),
        texts=TextColumn.from_strings(texts(rows)),
        seqs=np.arange(rows, dtype=np.uint64),
    )


def initiator(*, is_sealed: bool) -> Initiator:
    """Begin a session as the app does."""
    return Initiator(tenant_id=TENANT, sender=APP, secret=SECRET if is_sealed else None)


def responder(*, is_sealed: bool) -> Responder:
    """Answer as the wrapper does."""
    return Responder(tenant_id=TENANT, sender=WRAPPER, secret=SECRET if is_sealed else None)


def session_pair(*, is_sealed: bool) -> tuple[Session, Session]:
    """Give both sides of a session."""
    first = initiator(is_sealed=is_sealed)
    reply, wrapper = responder(is_sealed=is_sealed).answer(first.hello(), now=0.0)
    return wrapper, first.finish(reply, now=0.0)
