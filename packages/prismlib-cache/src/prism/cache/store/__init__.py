"""Where answers are kept: in memory, in a file, or in a store of your own that keeps the contract.

`Store` is the contract; `prism.cache.store.conformance` holds an implementation to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prism.cache._late import late
from prism.cache.store._memory import MemoryStore
from prism.cache.store._notes import Notebook
from prism.cache.store._protocol import Changes, Record, Store

if TYPE_CHECKING:
    from prism.cache.store._sqlite import SQLiteStore
else:
    __getattr__ = late(__name__, SQLiteStore="prism.cache.store._sqlite")

__all__ = ["Changes", "MemoryStore", "Notebook", "Record", "SQLiteStore", "Store"]
