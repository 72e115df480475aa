"""One stored answer in memory, and what it takes there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prism.cache._answers import AnswerSketch, sketch
from prism.cache._codec import EncodedAnswer, decode
from prism.cache._pricing import Usage
from prism.cache.errors import CacheConfigurationError
from prism.cache.store import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["GROUP_BYTES", "Entry", "cost_of", "entry_of", "text_of"]

GROUP_BYTES = 16

# Per entry beside question, answer, vectors, words and tags: its objects and its places in dict,
# heaps and index. A test measures real entries and fails if they take more than is estimated.
_ENTRY_OVERHEAD_BYTES = 3072
# Of an answer's vector, unless that is as wide as the question's.
_MEANING_BYTES = 1280


@dataclass(slots=True, eq=False)
class Entry:
    """One stored answer in memory.

    Only `hits`, `group` and `meaning` ever change, `row` and `is_admitted` once.

    Attributes:
        group: Name of the group of entries with this answer.
        meaning: The answer's own unit vector, shape (width,), once it has been embedded.
        is_admitted: Whether the admission rules are known to let this very question be looked up.
    """

    key: bytes
    scope: bytes
    question: str
    answer: EncodedAnswer
    sketch: AnswerSketch
    model: str
    usage: Usage | None
    created_at: float
    expires_at: float
    tags: tuple[str, ...]
    size_bytes: int
    position: int
    row: int | None = None
    hits: int = 0
    group: bytes = b""
    meaning: npt.NDArray[np.float32] | None = None
    is_admitted: bool = False

    def __post_init__(self) -> None:
        self.group = self.group or self.key[:GROUP_BYTES]


def entry_of(
    record: Record, *, position: int, misread: Callable[[CacheConfigurationError], object]
) -> Entry:
    """Make the entry of a stored record.

    Args:
        record: What the store has.
        position: Where it stands in the store.
        misread: Told what is wrong with the record's usage, which is left out then.
    """
    answer = EncodedAnswer(record.answer, record.encoding)
    usage = None
    if record.input_tokens is not None and record.output_tokens is not None:
        try:
            usage = Usage(
                input_tokens=record.input_tokens,
                output_tokens=record.output_tokens,
                cached_tokens=record.cached_tokens or 0,
            )
        except CacheConfigurationError as error:
            misread(error)
    sketched = sketch(text_of(answer), record.question)
    return Entry(
        key=record.key,
        scope=record.scope,
        question=record.question,
        answer=answer,
        sketch=sketched,
        model=record.model,
        usage=usage,
        created_at=record.created_at,
        expires_at=math.inf if record.expires_at is None else record.expires_at,
        tags=record.tags,
        size_bytes=_ENTRY_OVERHEAD_BYTES
        + 4 * len(record.question)
        + len(record.answer)
        + 2 * len(record.vector)
        + max(len(record.vector), _MEANING_BYTES)
        + sketched.size_bytes
        + sum(100 + len(tag) for tag in record.tags),
        position=position,
    )


def cost_of(entry: Entry) -> float:
    """What it takes to get an answer again: its output, which is what takes time and money."""
    return float(entry.usage.output_tokens if entry.usage else len(entry.answer.payload) / 4) + 1.0


def text_of(answer: EncodedAnswer) -> str:
    """Give an answer as text, to compare it."""
    try:
        whole = decode(answer)
    except Exception:  # noqa: BLE001  a damaged answer, or one of a newer version
        whole = answer.payload
    if isinstance(whole, str):
        return whole
    return answer.payload.decode("utf-8", "replace")
