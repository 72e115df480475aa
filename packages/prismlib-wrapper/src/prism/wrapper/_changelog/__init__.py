"""The change log: the last state of each row on disk, under a rising number.

entries      what is appended at once: distinct rows, deletions, cleared tables
layout       tables of the file and the fixed head of a row (pure)
file         opening, creating and locking the file; what SQLite's errors mean
connections  the one that writes and those that read, each in transactions
state        what is known without reading rows: epochs, position, tables
reading      from a position to columns, and rows by key
writing      the statements of an append, of compaction and of epochs
age          how long ago nothing was missing
status       the log at one moment, for those who look after it
log          `ChangeLog`, which ties them together
"""

from prism.wrapper._changelog.entries import LogBatch, RowState
from prism.wrapper._changelog.log import ChangeLog
from prism.wrapper._changelog.reading import StoredRow
from prism.wrapper._changelog.status import LogStatus

__all__ = ["ChangeLog", "LogBatch", "LogStatus", "RowState", "StoredRow"]
