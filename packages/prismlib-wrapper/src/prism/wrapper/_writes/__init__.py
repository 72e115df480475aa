"""Writes of drivers: an upsert into a configured table.

values  what a column takes (pure)
upsert  the statements, and the transaction
writes  `TableWrites`, which answers the calls
"""

from prism.wrapper._writes.writes import TableWrites

__all__ = ["TableWrites"]
