"""Requests cut to the size a provider takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["batches"]


def batches(texts: Sequence[str], *, max_texts: int, max_bytes: int) -> Iterator[Sequence[str]]:
    """Cut texts into runs, in order.

    Providers also limit the tokens of a request. A token is at least one byte of UTF-8, so a limit
    in bytes keeps any text within a limit in tokens without knowing the tokenizer.

    Args:
        texts: The texts.
        max_texts: Most texts in a run, at least 1.
        max_bytes: Most bytes in a run; a longer text goes alone.

    Yields:
        Runs of at least one text.
    """
    start = size_bytes = 0
    for position, text in enumerate(texts):
        text_bytes = len(text.encode())
        full = position - start == max_texts or size_bytes + text_bytes > max_bytes
        if full and position > start:
            yield texts[start:position]
            start, size_bytes = position, 0
        size_bytes += text_bytes
    if start < len(texts):
        yield texts[start:]
