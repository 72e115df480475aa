"""What a store is: the durable side of a cache, shared by its processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Changes", "Record", "Store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One stored answer with everything needed to serve it again. Immutable.

    Attributes:
        key: 32 bytes: digest of scope and normalised question. One record per key.
        scope: 16 bytes: digest of the scope alone.
        question: The question as it was asked.
        embedder: `model_id` of the embedder that made `vector`.
        vector: The question's unit vector, float32 little-endian.
        answer: The encoded answer.
        encoding: Name of the codec and form that reads `answer`.
        model: The LLM that gave the answer, as its provider names it.
        input_tokens: What the call took, as the provider reported it; `None` if it did not.
        output_tokens: What the call gave, likewise.
        cached_tokens: The part of `input_tokens` that the provider billed as cached, likewise.
        call_s: Seconds the call took.
        created_at: Seconds since the epoch.
        expires_at: Seconds since the epoch; `None` for never.
        tags: Labels for `invalidate(tag=)`.
    """

    key: bytes
    scope: bytes
    question: str
    embedder: str
    vector: bytes
    answer: bytes
    encoding: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    call_s: float = 0.0
    created_at: float
    expires_at: float | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What happened to a tenant's records after some position.

    Attributes:
        position: Ask for what came after this next time.
        stored: Records put since, in order; of several puts of one key only the last.
        deleted: Keys deleted since and not put again.
        is_reset: The position was too old to tell what was deleted, or not one of this store:
            `stored` is everything there is, and what is not in it is gone.
    """

    position: int
    stored: tuple[Record, ...]
    deleted: tuple[bytes, ...]
    is_reset: bool = False


@runtime_checkable
class Store(Protocol):
    """Keeps records, by tenant. Implementations are safe for threads.

    Positions rise with every change of any tenant. `put` and `delete` are durable against the death
    of the process when they return, if the store is durable at all. Every method raises
    `StoreError` when it cannot do what it says; then nothing changed.
    """

    def put(self, tenant: bytes, record: Record) -> int:
        """Keep `record` in place of any other with its key; return the position of the change."""

    def delete(
        self,
        tenant: bytes,
        keys: Collection[bytes],
        *,
        versions: Mapping[bytes, int] | None = None,
    ) -> int:
        """Forget these keys, unknown ones included; return how many there were.

        Args:
            tenant: Whose.
            keys: What to forget.
            versions: For each key the newest position that is meant; what was put after it stays.
                Without it a reader who lags behind would delete what it has not seen. `None` means
                whatever is there.
        """

    def changes(self, tenant: bytes, since: int) -> Changes:
        """Tell what changed after position `since`; 0 gives all records."""

    def has_changed(self, since: int) -> bool:
        """Tell cheaply (a few microseconds) whether `changes` could have something new.

        May say yes for a change of another tenant, never no when there is one.
        """

    def close(self) -> None:
        """Let go of files and connections. Closing twice does nothing."""
