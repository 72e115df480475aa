"""A live replica of database rows in this process: read in a microsecond, searched by meaning.

Begin with `PrismDriver` and `DriverConfig`. The rows come from `prism-wrapper` beside the database.
"""

import logging as _logging

from prism.ffi._config import DriverConfig
from prism.ffi._driver import PrismDriver
from prism.ffi._notices import ChangeNotice
from prism.ffi._row import Row, RowMatch
from prism.ffi._status import DriverStatus, WriteAck
from prism.ffi._sync import PrismDriverSync
from prism.ffi.errors import (
    CallRefusedError,
    DriverClosedError,
    DriverConfigurationError,
    ModelMismatchError,
    NotSeenInTimeError,
    PrismDriverError,
    SnapshotFileError,
    StaleReplicaError,
    UnknownTableError,
    WrapperUnavailableError,
)

__all__ = [
    "CallRefusedError",
    "ChangeNotice",
    "DriverClosedError",
    "DriverConfig",
    "DriverConfigurationError",
    "DriverStatus",
    "ModelMismatchError",
    "NotSeenInTimeError",
    "PrismDriver",
    "PrismDriverError",
    "PrismDriverSync",
    "Row",
    "RowMatch",
    "SnapshotFileError",
    "StaleReplicaError",
    "UnknownTableError",
    "WrapperUnavailableError",
    "WriteAck",
]

_logging.getLogger("prism.ffi").addHandler(_logging.NullHandler())
