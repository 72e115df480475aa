"""A semantic LLM cache: another wording gets the stored answer, a look-alike does not.

Begin with `PrismCache.build` and `PrismCache.get_or_call`.
"""

import logging as _logging
from typing import TYPE_CHECKING as _TYPE_CHECKING

from prism.cache._admission.defaults import ADMISSION_RULES
from prism.cache._admission.rule import AdmissionRule
from prism.cache._cache import PrismCache
from prism.cache._explanation import Explanation, Lookup
from prism.cache._late import late as _late
from prism.cache._metrics import CacheMetrics
from prism.cache._pricing import Usage
from prism.cache._reply import Reply
from prism.cache._scope import ScopeValue
from prism.cache._scoped import ScopedCache
from prism.cache._settings import CacheSettings
from prism.cache.errors import (
    CacheClosedError,
    CacheConfigurationError,
    CallError,
    PrismCacheError,
    ScopeError,
    StoreBusyError,
    StoreError,
    StoreFileError,
)
from prism.cache.store import MemoryStore, Store

if _TYPE_CHECKING:
    from prism.cache._guards import Objection
    from prism.cache._verdict import Judgement
    from prism.cache.store import SQLiteStore
else:
    # What only a cache that was built needs is loaded with the first of them.
    __getattr__ = _late(
        __name__,
        Judgement="prism.cache._verdict",
        Objection="prism.cache._guards",
        SQLiteStore="prism.cache.store._sqlite",
    )

__all__ = [
    "ADMISSION_RULES",
    "AdmissionRule",
    "CacheClosedError",
    "CacheConfigurationError",
    "CacheMetrics",
    "CacheSettings",
    "CallError",
    "Explanation",
    "Judgement",
    "Lookup",
    "MemoryStore",
    "Objection",
    "PrismCache",
    "PrismCacheError",
    "Reply",
    "SQLiteStore",
    "ScopeError",
    "ScopeValue",
    "ScopedCache",
    "Store",
    "StoreBusyError",
    "StoreError",
    "StoreFileError",
    "Usage",
]

_logging.getLogger("prism.cache").addHandler(_logging.NullHandler())
