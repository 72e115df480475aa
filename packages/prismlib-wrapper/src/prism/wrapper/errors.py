"""What can go wrong, split by what the operator does next.

    WrapperError
    ├── WrapperConfigurationError (ValueError)  fix the file, a right or a setting
    ├── ChangeLogError                          the change log failed
    │   ├── ChangeLogFileError                  the file is not ours, damaged, or of a newer version
    │   ├── ChangeLogFullError                  no space left; it goes on by itself
    │   └── ChangeLogBusyError                  another wrapper has the file open
    ├── VectorizeError (ValueError)             one row cannot be made a vector; it is quarantined
    ├── WriteRefusedError (ValueError)          a write names what the table does not take
    └── DaemonError                             the running wrapper cannot be reached, or stopped

No message holds a password, a DSN or the value of a row.
"""

from __future__ import annotations

__all__ = [
    "ChangeLogBusyError",
    "ChangeLogError",
    "ChangeLogFileError",
    "ChangeLogFullError",
    "DaemonError",
    "VectorizeError",
    "WrapperConfigurationError",
    "WrapperError",
    "WriteRefusedError",
]


class WrapperError(Exception):
    """Anything that prism.wrapper raises on purpose."""


class WrapperConfigurationError(WrapperError, ValueError):
    """The configuration, or the database it points to, does not allow this wrapper to run."""


class ChangeLogError(WrapperError):
    """The change log cannot be read or written."""


class ChangeLogFileError(ChangeLogError):
    """The file is damaged, of another program or of a newer version. It was not touched.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class ChangeLogFullError(ChangeLogError):
    """The disk that holds the change log is full. Nothing was written, nothing confirmed."""


class ChangeLogBusyError(ChangeLogError):
    """Another process writes this change log."""


class VectorizeError(WrapperError, ValueError):
    """A row has no text, or its text no vector."""


class WriteRefusedError(WrapperError, ValueError):
    """A write names a table, a column or a value that the database would not take.

    Attributes:
        column: The column that is at fault, if one is.
    """

    def __init__(self, message: str, *, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column


class DaemonError(WrapperError):
    """No running wrapper answers, or it stopped with an error of its own."""
