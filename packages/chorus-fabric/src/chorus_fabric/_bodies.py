"""The bodies of calls: read, checked, and as the handlers take them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from chorus_fabric._handlers import QueryCall, WriteCall
from chorus_fabric.errors import InvalidCallError
from chorus_fabric.v1 import wrapper_pb2 as pb

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["decode_query", "decode_write", "parsed"]

MAX_TOP_K: Final = 1000
_MAX_WAIT_S: Final = 300.0
_DEFAULT_TOP_K: Final = 10

Body = TypeVar("Body", bound=Message)


def decode_query(body: pb.QueryBody) -> QueryCall:
    """Read a query.

    Raises:
        InvalidCallError: It makes no sense.
    """
    embedding: npt.NDArray[np.float32] | None = None
    if body.embedding:
        if len(body.embedding) % 4 or body.text:
            raise InvalidCallError("a query has an embedding of float32 or a text, and not both")
        embedding = np.frombuffer(body.embedding, "<f4").astype(np.float32)
        if not np.isfinite(embedding).all():
            raise InvalidCallError("an embedding holds finite numbers")
    elif not body.text:
        raise InvalidCallError("a query has an embedding or a text")
    top_k = body.top_k or _DEFAULT_TOP_K
    if top_k > MAX_TOP_K:
        raise InvalidCallError(f"top_k is at most {MAX_TOP_K}, got {top_k}")
    threshold = body.threshold if body.HasField("threshold") else None
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise InvalidCallError(f"threshold is a number from -1 to 1, got {threshold}")
    return QueryCall(
        embedding=embedding,
        text=body.text or None,
        model_id=body.model_id,
        top_k=top_k,
        threshold=threshold,
        table=body.table,
        where=_object(body.where, "where"),
    )


def decode_write(body: pb.WriteBody) -> WriteCall:
    """Read a write.

    Raises:
        InvalidCallError: It makes no sense.
    """
    return WriteCall(
        table=body.table,
        row_id=body.row_id,
        values=_object(body.values, "values"),
        wait_s=min(body.wait_ms / 1000, _MAX_WAIT_S),
    )


def _object(encoded: bytes, name: str) -> dict[str, object]:
    if not encoded:
        return {}
    try:
        read = json.loads(encoded)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise InvalidCallError(f"{name} is a JSON object: column to value")
    return read


def parsed(kind: type[Body], encoded: bytes) -> Body:
    """Read a body of a kind.

    Raises:
        InvalidCallError: It is none.
    """
    body = kind()
    try:
        body.ParseFromString(encoded)
    except DecodeError:
        raise InvalidCallError(f"not a {kind.__name__}") from None
    return body
