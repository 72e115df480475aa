"""Errors as gRPC statuses and back."""

from __future__ import annotations

from typing import Final

import grpc

from chorus_fabric._feed_errors import (
    CallRefused,
    InvalidCall,
    NotAllowed,
    NotReady,
    ServiceUnavailable,
    WrongState,
)
from chorus_fabric.errors import (
    ChorusError,
    FrameError,
    HandshakeError,
    IdentityError,
    SessionExpiredError,
)

__all__ = ["error_of", "status_of"]

_STATUSES: Final[tuple[tuple[type[ChorusError], grpc.StatusCode], ...]] = (
    (InvalidCall, grpc.StatusCode.INVALID_ARGUMENT),
    (NotAllowed, grpc.StatusCode.PERMISSION_DENIED),
    (NotReady, grpc.StatusCode.ABORTED),
    (WrongState, grpc.StatusCode.FAILED_PRECONDITION),
    (CallRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (IdentityError, grpc.StatusCode.PERMISSION_DENIED),
    (HandshakeError, grpc.StatusCode.UNAUTHENTICATED),
    (FrameError, grpc.StatusCode.UNAUTHENTICATED),
    (SessionExpiredError, grpc.StatusCode.UNAUTHENTICATED),
)

_REFUSALS: Final[dict[grpc.StatusCode, type[ChorusError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidCall,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.ABORTED: NotReady,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.UNIMPLEMENTED: WrongState,
    grpc.StatusCode.UNAUTHENTICATED: HandshakeError,
    grpc.StatusCode.INTERNAL: CallRefused,
}


def status_of(error: ChorusError) -> tuple[grpc.StatusCode, str]:
    """Give the status that tells of an error."""
    for kind, code in _STATUSES:
        if isinstance(error, kind):
            return code, str(error)
    return grpc.StatusCode.INTERNAL, str(error)


def error_of(error: grpc.RpcError, where: str) -> ChorusError:
    """Give the error that a status tells of.

    Args:
        error: What a call raised.
        where: The address that was called.
    """
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else "") or code.name.lower()
    kind = _REFUSALS.get(code)
    if kind is not None:
        return kind(details)
    return ServiceUnavailable(f"{where}: {details}", code=code.name)
