"""An in-process vector index: text to vector, vector to tenant space, nearest neighbours.

Importing this package imports numpy and nothing heavier: numba is loaded in the background once
an index has grown to where that pays, embedders are in `prismresonance.embed`.
"""

from __future__ import annotations

import logging

from prismresonance._filters import Between
from prismresonance._index import WaveIndex
from prismresonance._projector import PrismProjector
from prismresonance._records import IndexStats, Match, Payload, Record, RowId
from prismresonance.errors import (
    DuplicateIdError,
    IndexBusyError,
    IndexDamagedError,
    IndexFileError,
    InvalidArgumentError,
    InvalidVectorError,
    PrismResonanceError,
    UnsavablePayloadError,
)

__all__ = [
    "Between",
    "DuplicateIdError",
    "IndexBusyError",
    "IndexDamagedError",
    "IndexFileError",
    "IndexStats",
    "InvalidArgumentError",
    "InvalidVectorError",
    "Match",
    "Payload",
    "PrismProjector",
    "PrismResonanceError",
    "Record",
    "RowId",
    "UnsavablePayloadError",
    "WaveIndex",
]

logging.getLogger("prismresonance").addHandler(logging.NullHandler())
