"""How the parts of a compiled kernel are declared, so that a type checker sees plain functions.

Declaring compiles nothing: a part is compiled when the kernel that calls it is. Importing this
module imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["MAY_REORDER", "part", "source_of", "summing_part"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

MAY_REORDER = {"reassoc", "contract", "nsz"}
"""What of floating-point arithmetic LLVM may change where a sum may be taken in any order."""


def part(function: _Function) -> _Function:
    """Declare a part whose arithmetic rounds step by step, as numpy's does."""
    return cast("_Function", cast("Any", numba.njit)(function))


def summing_part(function: _Function) -> _Function:
    """Declare a part whose sums may be taken in any order: that makes them vector code.

    The result has the same bits where no addition rounds (see `_vectors`), and is an estimate
    elsewhere. Divisions and roots stay exact.
    """
    return cast("_Function", cast("Any", numba.njit)(fastmath=MAY_REORDER)(function))


def source_of(declared: Callable[..., Any]) -> Callable[..., Any]:
    """Give the plain function of a part."""
    return cast("Callable[..., Any]", cast("Any", declared).py_func)
