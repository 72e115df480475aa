"""The transport's errors as the driver's, with host, port and remedy."""

from __future__ import annotations

from chorus_fabric import (
    CallRefusedError,
    ChorusError,
    FabricConfigurationError,
    InvalidCallError,
    NotAllowedError,
    NotReadyError,
    PeerError,
    ServiceUnavailableError,
    WrongStateError,
)
from prism.ffi.errors import CallRefusedError as DriverCallRefusedError
from prism.ffi.errors import DriverConfigurationError, WrapperUnavailableError

__all__ = ["contact_error", "error_of_call"]

_REASONS: tuple[tuple[type[ChorusError], str], ...] = (
    (InvalidCallError, "invalid"),
    (NotAllowedError, "not_allowed"),
    (NotReadyError, "not_ready"),
    (WrongStateError, "wrong_state"),
    (CallRefusedError, "internal"),
)


def contact_error(error: ChorusError, where: str) -> Exception:
    """Give the driver's error for a first contact that failed."""
    if isinstance(error, ServiceUnavailableError):
        return WrapperUnavailableError(
            f"no wrapper answers at {where} ({error}): is `prism-wrapper` running there, "
            "are host and port right, is the port open for this machine, and has either side "
            "certificates (tls) that the other lacks?"
        )
    if isinstance(error, (PeerError, CallRefusedError, FabricConfigurationError)):
        return DriverConfigurationError(
            f"the wrapper at {where} and this driver do not agree: {error}"
        )
    return WrapperUnavailableError(f"{where}: {error}")


def error_of_call(error: ChorusError, where: str, *, is_write: bool = False) -> Exception:
    """Give the driver's error for a call that failed.

    Args:
        error: What the transport says.
        where: The wrapper's address.
        is_write: Whether it may be done all the same.
    """
    if isinstance(error, ServiceUnavailableError):
        more = ": the write may be committed all the same" if is_write else ""
        return WrapperUnavailableError(
            f"the wrapper at {where} did not answer{more} ({error})", may_be_done=is_write
        )
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return DriverCallRefusedError(str(error), reason=reason)
    return WrapperUnavailableError(f"{where}: {error}", may_be_done=is_write)
