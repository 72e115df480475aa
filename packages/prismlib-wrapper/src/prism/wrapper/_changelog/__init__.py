"""The change log: the last state of each row on disk, under a rising number.

entries   what is appended at once: distinct rows, deletions, cleared tables
layout    tables of the file and the fixed head of a row (pure)
file      opening, creating and locking the file; what SQLite's errors mean
reading   from a position to columns, and rows by key
writing   the statements of an append, of compaction and of epochs
log       `ChangeLog`, which ties them together
"""

from prism.wrapper._changelog.entries import LogBatch, RowState
from prism.wrapper._changelog.log import ChangeLog, LogStatus
from prism.wrapper._changelog.reading import StoredRow

__all__ = ["ChangeLog", "LogBatch", "LogStatus", "RowState", "StoredRow"]
