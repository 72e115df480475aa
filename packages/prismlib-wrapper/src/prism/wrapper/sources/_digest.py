"""A short name for what is followed, so that positions of other tables are told apart. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["tables_digest"]


def tables_digest(tables: Iterable[str]) -> str:
    """Name a set of tables by what tells them apart, in any order: another set has another name."""
    return hashlib.sha256("\n".join(sorted(tables)).encode()).hexdigest()[:12]
