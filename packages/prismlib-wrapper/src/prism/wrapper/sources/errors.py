"""What a source raises, split by what the caller does next.

    SourceError (WrapperError)
    ├── SourceConfigurationError (ValueError)     fix a setting; the message names it
    ├── SourceAccessError (PermissionError)       a right or a setting is missing; see `remedy`
    ├── TableRefusedError                         a table cannot be followed; see `remedy`
    ├── SourceUnavailableError (ConnectionError)  the database does not answer; retry
    ├── SourceBusyError (TimeoutError)            something in the database blocks us; retry later
    ├── SourceProtocolError                       the database sent what we do not understand
    └── SourceClosedError                         the source was closed before this call

A running source repairs what it can by itself: it reconnects and, where its place in the stream is
gone, begins a new snapshot. What it raises is left for a person. No message holds a password or a
row's value.
"""

from __future__ import annotations

from prism.wrapper.errors import WrapperError

__all__ = [
    "SourceAccessError",
    "SourceBusyError",
    "SourceClosedError",
    "SourceConfigurationError",
    "SourceError",
    "SourceProtocolError",
    "SourceUnavailableError",
    "TableRefusedError",
]


class SourceError(WrapperError):
    """Anything that a source raises on purpose."""


class SourceConfigurationError(SourceError, ValueError):
    """A setting or an argument is outside what is accepted."""


class SourceAccessError(SourceError, PermissionError):
    """The database refuses: a wrong password, a missing right, or a server setting.

    Attributes:
        remedy: Statements, or a line of configuration, for whoever runs the database. May be "".
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message}\n{remedy}" if remedy else message)
        self.remedy = remedy


class TableRefusedError(SourceError):
    """A table cannot be followed, such as one whose rows have no key.

    Attributes:
        table: Its name as the database would quote it.
        remedy: The statement that would make it followable. May be "".
    """

    def __init__(self, message: str, *, table: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n{remedy}" if remedy else message)
        self.table = table
        self.remedy = remedy


class SourceUnavailableError(SourceError, ConnectionError):
    """The database does not answer."""


class SourceBusyError(SourceError, TimeoutError):
    """Something in the database blocks us for longer than the time allowed."""


class SourceProtocolError(SourceError):
    """The database sent bytes that are not what its protocol says."""


class SourceClosedError(SourceError):
    """The source was closed before this call."""
