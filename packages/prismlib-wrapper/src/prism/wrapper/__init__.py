"""Database changes to row vectors: one durable log from which every app follows its tables.

Begin with the command `prism-wrapper --config F`.
"""

import logging as _logging

from prism.wrapper._vectorizer import RowVectorizer, Vectors
from prism.wrapper.errors import (
    ChangeLogBusyError,
    ChangeLogError,
    ChangeLogFileError,
    ChangeLogFullError,
    DaemonError,
    VectorizeError,
    WrapperConfigurationError,
    WrapperError,
    WriteRefusedError,
)

__all__ = [
    "ChangeLogBusyError",
    "ChangeLogError",
    "ChangeLogFileError",
    "ChangeLogFullError",
    "DaemonError",
    "RowVectorizer",
    "VectorizeError",
    "Vectors",
    "WrapperConfigurationError",
    "WrapperError",
    "WriteRefusedError",
]

_logging.getLogger("prism.wrapper").addHandler(_logging.NullHandler())
