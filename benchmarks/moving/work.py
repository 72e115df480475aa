"""What the work on a frame costs, step by step, as CPU time of the thread that does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from chorus_fabric import TensorCipher, TextColumn
from chorus_fabric._codec import body_parts
from chorus_fabric._seal import Seal
from chorus_fabric._watermark import Watermarker
from moving.sample import sample_frame, session_pair, texts

ROTATE, MARK, SEAL = "rotate", "watermark", "seal"
STEPS = (ROTATE, MARK, SEAL)
COPY = "copy the message once"
_BLOCK = 5


@dataclass(frozen=True)
class Step:
    """A step on frames of one size.

    Attributes:
        name: What is done.
        rows: Rows a frame.
        us_a_row: CPU time of the median frame, by row.
        least_us_a_row: The same of the quickest frame.
    """

    name: str
    rows: int
    us_a_row: float
    least_us_a_row: float


def measure(rows: int, repeats: int, track: Callable[[Iterable[int]], Iterable[int]]) -> list[Step]:
    """Time every step on a frame of so many rows, all of them in turn."""
    frame, words = sample_frame(rows), texts(rows)
    cipher, marker = TensorCipher(bytes(32)), Watermarker(bytes(32))
    seal = Seal(bytes(32), bytes(4))
    header, before = bytes(96), bytes(32)
    parts = body_parts(frame, cipher.rotate(frame.vectors))
    message = header + b"".join(parts)
    rotated = np.empty_like(frame.vectors)
    copied = np.empty(len(message), np.uint8)
    source = np.frombuffer(message, np.uint8)
    marked, marked_peer = session_pair(is_sealed=False)
    sealed, sealed_peer = session_pair(is_sealed=True)
    sent: list[bytes] = []

    def seal_all() -> None:
        sent.append(sealed.sealer.seal(frame))

    def mark_all() -> None:
        sent.append(marked.sealer.seal(frame))

    steps: dict[str, Callable[[], object]] = {
        COPY: lambda: np.copyto(copied, source),
        "columns from lists of str": lambda: TextColumn.from_strings(words),
        ROTATE: lambda: cipher.rotate(frame.vectors, rotated),
        MARK: lambda: marker.mark(header, parts, before),
        # A nonce twice under one key is what must never be; here nobody reads it.
        SEAL: lambda: seal.close(header, parts, 0),
        "whole sender, marked": mark_all,
        "whole receiver, marked": lambda: marked_peer.opener.open(sent.pop()),
        "whole sender, sealed": seal_all,
        "whole receiver, sealed": lambda: sealed_peer.opener.open(sent.pop()),
    }
    spans: dict[str, list[float]] = {name: [] for name in steps}
    for _ in track(range(repeats)):
        for _ in range(_BLOCK):
            for name, step in steps.items():
                start = time.thread_time()
                step()
                spans[name].append(time.thread_time() - start)
    return [
        Step(name, rows, float(np.median(own)) / rows * 1e6, min(own) / rows * 1e6)
        for name, own in spans.items()
    ]
