"""The kernels compiled by numba. Importing this module imports numba: only the compiler does."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import caching

from prismresonance._kernels import exact as exact_source
from prismresonance._kernels import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["CompiledKernels"]

_log = logging.getLogger("prismresonance")

# A thread that gives up the GIL waits for up to one switch interval (5 ms) to get it back when
# another Python thread is busy. That is worth it only for a loop of 200 us or more, which is about
# this many components.
_LONG_ELEMENTS = 1 << 21

_F4 = types.Array(types.float32, 1, "C")
_F8 = types.Array(types.float64, 1, "C")
_I8 = types.Array(types.int64, 1, "C")
_ROWS = types.Array(types.float32, 2, "C")

_SOURCES: dict[str, tuple[Callable[..., Any], Any]] = {
    "estimate": (scan.estimate, types.void(_ROWS, types.int64, _F4, _F4)),
    "collect": (scan.collect, types.int64(_ROWS, types.int64, _F4, types.float64, _I8, _F4)),
    "exact": (exact_source.exact, types.void(_ROWS, _I8, _F8, _F8)),
}


class CompiledKernels:
    """The kernels of `plain`, compiled twice: holding the GIL, and releasing it for long loops.

    Never with `parallel=True`: numba's default threading layer aborts the process when two Python
    threads enter such a function at once.

    Args:
        folder: Where compiled code is kept for the next process; `None` keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, Any] = {}
        self._released: dict[str, Any] = {}

    def compile(self) -> Iterator[None]:
        """Compile, one function a step, so that the caller can stop or pause between two."""
        for nogil, functions in ((False, self._held), (True, self._released)):
            for name, (source, signature) in _SOURCES.items():
                functions[name] = _compile(source, signature, nogil=nogil, folder=self._folder)
                yield

    def estimate(
        self,
        rows: npt.NDArray[np.float32],
        count: int,
        query: npt.NDArray[np.float32],
        estimates: npt.NDArray[np.float32],
    ) -> None:
        """Write the products of the first rows with the query."""
        long = count * rows.shape[1] > _LONG_ELEMENTS
        (self._released if long else self._held)["estimate"](rows, count, query, estimates)

    def collect(
        self,
        rows: npt.NDArray[np.float32],
        count: int,
        query: npt.NDArray[np.float32],
        bar: float,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Find the rows whose product with the query reaches a bar."""
        long = count * rows.shape[1] > _LONG_ELEMENTS
        found = np.empty(count, np.int64)
        values = np.empty(count, np.float32)
        kernel = (self._released if long else self._held)["collect"]
        hits = kernel(rows, count, query, bar, found, values)
        return found[:hits], values[:hits]

    def exact(
        self,
        rows: npt.NDArray[np.float32],
        chosen: npt.NDArray[np.int64],
        query: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Multiply chosen rows with the query in float64."""
        long = len(chosen) * rows.shape[1] > _LONG_ELEMENTS // 4
        products = np.empty(len(chosen), np.float64)
        (self._released if long else self._held)["exact"](rows, chosen, query, products)
        return products


def _compile(
    source: Callable[..., Any], signature: Any, *, nogil: bool, folder: Path | None
) -> Any:
    dispatcher = numba.njit(nogil=nogil, fastmath=True)(source)
    if folder is not None:
        try:
            vars(dispatcher)["_cache"] = _cache_for(source, folder, nogil=nogil)
            dispatcher.compile(signature)
        except Exception as error:  # noqa: BLE001  a damaged or unusable cache: compile afresh
            _log.info("kernel cache not used: %s: %s", type(error).__name__, error)
            dispatcher = numba.njit(nogil=nogil, fastmath=True)(source)
        else:
            return _sealed(dispatcher)
    dispatcher.compile(signature)
    return _sealed(dispatcher)


def _sealed(dispatcher: Any) -> Any:
    """Make other argument types an error: compiling for them would hold up a query for seconds."""
    dispatcher.disable_compile()
    return dispatcher


def _cache_for(source: Callable[..., Any], folder: Path, *, nogil: bool) -> caching.FunctionCache:
    """Make numba keep a function's code in a folder of ours.

    `cache=True` would write beside the source, which breaks `pip uninstall`, and raises where
    neither that nor the home folder can be written to. Setting numba's global cache folder would
    move the caches of the application's own functions.
    """
    code = source.__code__
    content = repr((code.co_code, code.co_consts, code.co_names, numba.__version__))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]

    class Locator:
        """Says where; numba asks it by these names."""

        def ensure_cache_path(self) -> None:
            folder.mkdir(parents=True, exist_ok=True)

        def get_cache_path(self) -> str:
            return str(folder)

        def get_source_stamp(self) -> str:
            return digest

        def get_disambiguator(self) -> str:
            # numba's key does not tell the two variants apart, so the file's name must.
            return f"{digest}-{'released' if nogil else 'held'}"

        @classmethod
        def from_function(cls, *_: object) -> Locator:
            return cls()

    class Impl(caching.CompileResultCacheImpl):
        _locator_classes: list[type[Any]] = [Locator]  # noqa: RUF012  as numba declares it

    class Cache(caching.FunctionCache):
        _impl_class = Impl

    return Cache(source)  # type: ignore[no-untyped-call]  # numba
