"""Errors as gRPC statuses and back."""

from __future__ import annotations

from typing import Final

import grpc

from chorus_fabric.errors import (
    CallRefusedError,
    ChorusError,
    FrameError,
    HandshakeError,
    IdentityError,
    InvalidCallError,
    NotAllowedError,
    NotReadyError,
    ServiceUnavailableError,
    SessionExpiredError,
    WrongStateError,
)

__all__ = ["error_of", "status_of"]

_STATUSES: Final[tuple[tuple[type[ChorusError], grpc.StatusCode], ...]] = (
    (InvalidCallError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotAllowedError, grpc.StatusCode.PERMISSION_DENIED),
    (NotReadyError, grpc.StatusCode.ABORTED),
    (WrongStateError, grpc.StatusCode.FAILED_PRECONDITION),
    (CallRefusedError, grpc.StatusCode.FAILED_PRECONDITION),
    (IdentityError, grpc.StatusCode.PERMISSION_DENIED),
    (HandshakeError, grpc.StatusCode.UNAUTHENTICATED),
    (FrameError, grpc.StatusCode.UNAUTHENTICATED),
    (SessionExpiredError, grpc.StatusCode.UNAUTHENTICATED),
)

_REFUSALS: Final[dict[grpc.StatusCode, type[ChorusError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidCallError,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
    grpc.StatusCode.ABORTED: NotReadyError,
    grpc.StatusCode.FAILED_PRECONDITION: WrongStateError,
    grpc.StatusCode.UNIMPLEMENTED: WrongStateError,
    grpc.StatusCode.UNAUTHENTICATED: HandshakeError,
    grpc.StatusCode.INTERNAL: CallRefusedError,
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
    code: grpc.StatusCode = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    details: str = getattr(error, "details", str)() or code.name.lower()
    kind = _REFUSALS.get(code)
    if kind is not None:
        return kind(details)
    return ServiceUnavailableError(f"{where}: {details}", code=code.name)
