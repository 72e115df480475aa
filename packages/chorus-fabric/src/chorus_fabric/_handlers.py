"""What a service asks of the program behind it: answer a query, do a write, tell its health.

Handlers are called in a thread and may block. They may be called from several threads at once.
What they raise reaches the client as a status: `CallRefusedError` and its kinds with their message,
any other error as "internal error" without it, because it may hold a row's values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Caller",
    "HealthHandler",
    "HealthReport",
    "QueryAnswer",
    "QueryCall",
    "QueryHandler",
    "QueryRow",
    "WriteCall",
    "WriteHandler",
    "WriteResult",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as far as it is proven.

    Attributes:
        tenant_id: The tenant, which the service has checked.
        node_id: The node's name, as it gave it in Hello, and as its certificate says if there is
            one; empty for a call without a session.
        peer: The address it calls from.
        is_proven: Whether a certificate or the tenant's secret stands behind that.
    """

    tenant_id: str
    node_id: str
    peer: str
    is_proven: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryCall:
    """A search that a client without a replica, or with a stale one, asks for.

    Attributes:
        embedding: Shape `(dim,)` or `(64,)`, float32, finite; `None` when `text` is given.
        text: To be embedded by the service's embedder; `None` when `embedding` is given.
        model_id: The model that made `embedding`, if the client says so.
        top_k: How many matches at most, 1 to 1000.
        threshold: The least score; `None` for any.
        table: Which table; empty for all.
        where: Conditions on columns, by equality: a value, or a list of values.
    """

    embedding: npt.NDArray[np.float32] | None = None
    text: str | None = None
    model_id: str = ""
    top_k: int = 10
    threshold: float | None = None
    table: str = ""
    where: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRow:
    """One match.

    Attributes:
        table: Full name of its table.
        row_id: Its identity there.
        score: The cosine.
        text: What was embedded.
        columns: Its columns as a JSON object.
    """

    table: str
    row_id: str
    score: float
    text: str
    columns: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswer:
    """Matches by falling score, and the position of the log at which they were found."""

    rows: Sequence[QueryRow]
    epoch: int
    seq: int


class QueryHandler(Protocol):
    """Answers queries."""

    def query(self, call: QueryCall, caller: Caller) -> QueryAnswer:
        """Search.

        Raises:
            CallRefusedError: Of the kind that fits.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteCall:
    """An upsert into a configured table.

    Attributes:
        table: Which table; empty for the only or the configured one.
        row_id: The row's identity; with a key of several columns a JSON array of its parts. Empty
            when the key stands in `values`.
        values: Column to value, as JSON gives them.
        wait_s: How long to wait until the change has come back through the feed, so that its
            position can be told; 0 for not at all.
    """

    table: str
    row_id: str
    values: Mapping[str, object]
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """A committed write.

    Attributes:
        event_id: Names the commit; never empty. With a position it is `<epoch>-<seq>`.
        row_id: The row's identity, also when the database chose the key.
        epoch: Epoch of the log; 0 while the change has not come through the feed.
        seq: A replica that has applied everything up to here has seen the write; 0 as above.
    """

    event_id: str
    row_id: str
    epoch: int = 0
    seq: int = 0


class WriteHandler(Protocol):
    """Does writes."""

    def write(self, call: WriteCall, caller: Caller) -> WriteResult:
        """Commit it, then wait for it as `wait_s` says.

        Raises:
            CallRefusedError: Of the kind that fits; nothing was committed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """How a service is.

    Attributes:
        is_serving: Whether it answers, also while its source is away.
        state: One word for people and scripts, such as `streaming`, `snapshot` or `waiting`.
        details: Numbers and short texts to show; no secrets, no row values.
    """

    is_serving: bool
    state: str
    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


class HealthHandler(Protocol):
    """Tells how the service is."""

    def health(self) -> HealthReport:
        """Answer at once, from memory."""
