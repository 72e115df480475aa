"""Calls as frames: a request to one method, and the reply to just that request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chorus_fabric._columns import BytesColumn, TextColumn
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric.errors import MisroutedFrameError

if TYPE_CHECKING:
    from chorus_fabric._handshake import Session

__all__ = ["open_reply", "open_request", "seal_reply", "seal_request"]


def seal_request(session: Session, method: str, number: int, body: bytes) -> bytes:
    """Make a request. Not for several threads at once, as the session.

    Args:
        session: Of the two nodes.
        method: Whom it is for.
        number: Tells the reply; a new one for each request.
        body: What it says.
    """
    return session.unordered_sealer.seal(
        _frame(session, FrameKind.REQUEST, method=method, number=number, body=body)
    )


def open_request(session: Session, message: bytes, method: str) -> tuple[int, bytes]:
    """Read a request; gives its number and body.

    Raises:
        FrameError: It is not from the peer, not new, or for another method.
    """
    frame = session.unordered_opener.open(message)
    return frame.seq, _body(frame, FrameKind.REQUEST, method)


def seal_reply(session: Session, method: str, number: int, body: bytes) -> bytes:
    """Make the reply to a request."""
    return session.unordered_sealer.seal(
        _frame(session, FrameKind.REPLY, method=method, number=number, body=body)
    )


def open_reply(session: Session, message: bytes, method: str, number: int) -> bytes:
    """Read the reply to a request; gives its body.

    Raises:
        FrameError: It is not from the peer, not new, or to another request.
    """
    frame = session.unordered_opener.open(message)
    body = _body(frame, FrameKind.REPLY, method)
    if frame.seq != number:
        raise MisroutedFrameError("a reply to another request")
    return body


def _frame(session: Session, kind: FrameKind, *, method: str, number: int, body: bytes) -> Frame:
    return Frame(
        kind=kind,
        tenant_id=session.tenant_id,
        sender=session.node,
        seq=number,
        ids=TextColumn.from_strings((method,)),
        metadata=BytesColumn.from_items((body,)),
    )


def _body(frame: Frame, kind: FrameKind, method: str) -> bytes:
    if frame.kind is not kind or list(frame.ids) != [method] or len(frame.metadata) != 1:
        raise MisroutedFrameError(f"a {frame.kind.name} frame, due is a {kind.name} to {method}")
    return frame.metadata[0]
