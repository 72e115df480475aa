"""What can go wrong, split by what the caller does next.

    PrismDriverError
    ├── DriverConfigurationError (ValueError)   fix a setting or an argument; the message names it
    │   ├── UnknownTableError (LookupError)     name a table that is replicated
    │   └── ModelMismatchError                  embed with the model that the wrapper announces
    ├── DriverClosedError                       the driver is closed, or was not connected yet
    ├── WrapperUnavailableError                 the wrapper cannot be reached: retry, or check it
    ├── CallRefusedError                        the wrapper refuses the call: its message says why
    ├── StaleReplicaError                       the replica is older than `max_lag_s`; retry later
    ├── NotSeenInTimeError (TimeoutError)       the replica has not come that far yet; wait longer
    └── SnapshotFileError                       a snapshot is damaged or foreign; never leaves the
                                                driver, which starts without it and warns

A read raises none of these because the wrapper is away, unless `max_lag_s` asks for it.
"""

from __future__ import annotations

__all__ = [
    "CallRefusedError",
    "DriverClosedError",
    "DriverConfigurationError",
    "ModelMismatchError",
    "NotSeenInTimeError",
    "PrismDriverError",
    "SnapshotFileError",
    "StaleReplicaError",
    "UnknownTableError",
    "WrapperUnavailableError",
]


class PrismDriverError(Exception):
    """Anything that prism.ffi raises on purpose."""


class DriverConfigurationError(PrismDriverError, ValueError):
    """A setting or an argument is outside what is accepted."""


class UnknownTableError(DriverConfigurationError, LookupError):
    """No replicated table has that name, or several do, or one has to be named."""


class ModelMismatchError(DriverConfigurationError):
    """Texts or vectors of another model than the wrapper's were given; they do not compare."""


class DriverClosedError(PrismDriverError):
    """The driver is closed, or not connected yet."""


class WrapperUnavailableError(PrismDriverError):
    """The wrapper could not be reached, or went away during a call.

    Attributes:
        may_be_done: Whether a write may have been committed all the same.
    """

    def __init__(self, message: str, *, may_be_done: bool = False) -> None:
        super().__init__(message)
        self.may_be_done = may_be_done


class CallRefusedError(PrismDriverError):
    """The wrapper did not do what was asked, and nothing was changed.

    Attributes:
        reason: `invalid`, `not_allowed`, `wrong_state`, `not_ready` or `internal`.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StaleReplicaError(PrismDriverError):
    """The replica is older than the configured bound.

    Attributes:
        lag_s: Its age in seconds; `None` when it is not known.
        max_lag_s: The bound.
    """

    def __init__(self, message: str, *, lag_s: float | None, max_lag_s: float) -> None:
        super().__init__(message)
        self.lag_s = lag_s
        self.max_lag_s = max_lag_s


class NotSeenInTimeError(PrismDriverError, TimeoutError):
    """The replica has not come to an event within the time allowed; the event itself stands.

    Attributes:
        event_id: The event.
    """

    def __init__(self, message: str, *, event_id: str) -> None:
        super().__init__(message)
        self.event_id = event_id


class SnapshotFileError(PrismDriverError):
    """A snapshot file is damaged, cut off, of another tenant or of another format.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
