"""The kernels compiled by numba. Importing this module imports numba: only the compiler does."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import logging
import time
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import caching

from prismresonance._kernels import find as find_source
from prismresonance._kernels import row_map
from prismresonance._kernels import rows as rows_source
from prismresonance._kernels.parts import MAY_REORDER, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prismresonance._kernels.interface import Integers

__all__ = ["CompiledKernels"]

_log = logging.getLogger("prismresonance")

# A thread that gives up the GIL waits for up to one switch interval (5 ms) to get it back when
# another Python thread is busy. That is worth it only for a loop of 200 us or more, which is about
# this many components of 16 bits.
_LONG_ELEMENTS = 1 << 22
# A query by sign codes takes 100 us and more from this many rows on.
_LONG_CODES = 1 << 19
# Shorter ones give the GIL up once in so many nanoseconds: beside a thread that asks back to back
# a writer would otherwise wait for a whole switch interval at each of its numpy calls.
_TURN_NS = 1_000_000
_LONG_IDS = 1 << 12

_N, _F = types.int64, types.float64
_F4 = types.Array(types.float32, 1, "C")
_F8 = types.Array(types.float64, 1, "C")
_I2 = types.Array(types.int16, 1, "C")
_I4 = types.Array(types.int32, 1, "C")
_I8 = types.Array(types.int64, 1, "C")
_U1 = types.Array(types.uint8, 1, "C")
_FLOATS = types.Array(types.float32, 2, "C")
_DOUBLES = types.Array(types.float64, 2, "C")
_READ_ONLY = types.Array(types.float32, 2, "C", readonly=True)
_WORDS = types.Array(types.int16, 2, "C")
_BYTES = types.Array(types.int8, 2, "C")
_CODES = types.Array(types.uint8, 3, "C")
_DIRECTORY = types.Array(types.int64, 2, "C")
_PAIR = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]  # numba
_TRIPLE = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]  # numba

_SOURCES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "exact": (
        rows_source.exact,
        tuple(types.void(rows, _I8, _I2, _F8) for rows in (_WORDS, _BYTES)),
    ),
    "quantise": (
        source_of(rows_source.quantise),
        tuple(_N(_FLOATS, rows, _I4, _N) for rows in (_WORDS, _BYTES)),
    ),
    "encode": (rows_source.encode, (types.void(_FLOATS, _CODES, _BYTES, _N),)),
    "find": (
        source_of(find_source.find),
        (_TRIPLE(_F4, _READ_ONLY, _DIRECTORY, _N, _N, _F, _F, _F, _U1, _I8, _F8),),
    ),
    "find_many": (
        source_of(find_source.find_many),
        (
            _PAIR(
                _FLOATS, _READ_ONLY, _DIRECTORY, _N, _N, _F, _F, _F, _U1, _DIRECTORY, _DOUBLES, _I8
            ),
        ),
    ),
    "locate_ids": (source_of(row_map.locate_ids), (types.void(_I8, _I8, _I8),)),
    "store_ids": (source_of(row_map.store_ids), (_N(_I8, _I8, _I8),)),
}

_PARTS: tuple[tuple[Any, Any], ...] = (
    (find_source.sign_bar, _N(_F, _F, _F4, _I8, _N)),
    (find_source.all_rows, _PAIR(_I2, _F, _N, _DIRECTORY, _N, _F, _F, _U1, _I8, _F8)),
    (find_source.fill_reach, _I8(_F, _F, _N)),
    (find_source.collect, _TRIPLE(_DIRECTORY, _I2, _I8, _U1, _N, _N, _N, _U1, _I8, _U1, _I8)),
    (
        find_source.offer_all,
        _PAIR(_I2, _F, _N, _I2, _DIRECTORY, _I8, _N, _N, _F, _I8, _F8, _N),
    ),
    (
        find_source.rest,
        _TRIPLE(
            _I2, _F, _N, _F4, _I2, _I8, _U1, _DIRECTORY, _N, _F, _F, _F, _U1, _N, _N, _N, _I8,
            _U1, _I8, _F8, _N,
        ),
    ),
)  # fmt: skip
"""Parts of `find` to compile in steps of their own, so that none takes long."""

# The parts of `find` say for themselves where it is right. Integers have no rounding to reorder.
_FAST: dict[Callable[..., Any], bool | set[str]] = {
    source_of(find_source.find): False,
    source_of(find_source.find_many): False,
    source_of(rows_source.quantise): MAY_REORDER,
    rows_source.exact: False,
}
_NO_LOW = np.empty((0, 1), np.int8)


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
        self._next_turn_ns = 0

    def compile(self) -> Iterator[None]:
        """Compile, one function a step, so that the caller can stop or pause between two."""
        if not self._keeps_find():
            for part, signature in _PARTS:
                part.compile(signature)
                yield
        for nogil, functions in ((False, self._held), (True, self._released)):
            for name, (source, signatures) in _SOURCES.items():
                if name == "find_many" and not nogil:
                    continue  # many queries are always worth the wait for the GIL
                functions[name] = _compile(source, signatures, nogil=nogil, folder=self._folder)
                yield

    def _keeps_find(self) -> bool:
        """Say whether an earlier process seems to have compiled `find`."""
        return self._folder is not None and any(
            self._folder.glob(f"*.find-{_sources_digest()}-*.nbi")
        )

    def find(
        self,
        vector: npt.NDArray[np.float32],
        matrix: npt.NDArray[np.float32],
        directory: npt.NDArray[np.int64],
        rows: int,
        row_bytes: int,
        epoch: int,
        threshold: float,
        threshold_sigmas: float,
        top_k_sigmas: float,
        admitted: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
    ) -> tuple[int, int, int]:
        """Find the best rows of a snapshot; see `find.find`."""
        long = rows > _LONG_CODES if len(matrix) else rows * len(vector) > _LONG_ELEMENTS
        now = time.perf_counter_ns()
        if long or now > self._next_turn_ns:
            self._next_turn_ns = now + _TURN_NS
            kernel = self._released["find"]
        else:
            kernel = self._held["find"]
        found: tuple[int, int, int] = kernel(
            vector, matrix, directory, row_bytes, epoch, threshold, threshold_sigmas, top_k_sigmas,
            admitted, places, scores,
        )  # fmt: skip
        return found

    def find_many(
        self,
        vectors: npt.NDArray[np.float32],
        matrix: npt.NDArray[np.float32],
        directory: npt.NDArray[np.int64],
        row_bytes: int,
        epoch: int,
        threshold: float,
        threshold_sigmas: float,
        top_k_sigmas: float,
        admitted: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        counts: npt.NDArray[np.int64],
    ) -> tuple[int, int]:
        """Find the best rows for each of several queries; see `find.find_many`."""
        work: tuple[int, int] = self._released["find_many"](
            vectors, matrix, directory, row_bytes, epoch, threshold, threshold_sigmas,
            top_k_sigmas, admitted, places, scores, counts,
        )  # fmt: skip
        return work

    def quantise(
        self,
        source: npt.NDArray[np.float32],
        rows: Integers,
        squared_norms: npt.NDArray[np.int32],
        top: int,
    ) -> int:
        """Round rows to integers."""
        kernels = self._released if source.size > _LONG_ELEMENTS // 16 else self._held
        bad: int = kernels["quantise"](source, rows, squared_norms, top)
        return bad

    def encode(
        self,
        products: npt.NDArray[np.float32],
        codes: npt.NDArray[np.uint8],
        low: npt.NDArray[np.int8] | None,
        start: int,
    ) -> None:
        """Write what is stored of projected rows."""
        kernels = self._released if products.size > _LONG_ELEMENTS // 16 else self._held
        kernels["encode"](products, codes, _NO_LOW if low is None else low, start)

    def exact(
        self, rows: Integers, chosen: npt.NDArray[np.int64], query: npt.NDArray[np.int16]
    ) -> npt.NDArray[np.float64]:
        """Multiply chosen rows with the query."""
        kernels = self._released if len(chosen) * rows.shape[1] > _LONG_ELEMENTS else self._held
        products = np.empty(len(chosen), np.float64)
        kernels["exact"](rows, chosen, query, products)
        return products

    def locate_ids(
        self,
        slots: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Find ids in their table."""
        long = len(ids) > _LONG_IDS
        (self._released if long else self._held)["locate_ids"](slots, ids, places)

    def store_ids(
        self,
        slots: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        seqs: npt.NDArray[np.int64],
    ) -> int:
        """Store ids in their table."""
        long = len(ids) > _LONG_IDS
        taken: int = (self._released if long else self._held)["store_ids"](slots, ids, seqs)
        return taken


def _compile(
    source: Callable[..., Any], signatures: tuple[Any, ...], *, nogil: bool, folder: Path | None
) -> Any:
    fast = _FAST.get(source, True)
    dispatcher = numba.njit(nogil=nogil, fastmath=fast)(source)
    if folder is not None:
        try:
            vars(dispatcher)["_cache"] = _cache_for(source, folder, nogil=nogil)
            for signature in signatures:
                dispatcher.compile(signature)
        except Exception as error:  # noqa: BLE001  a damaged or unusable cache: compile afresh
            _log.info("kernel cache not used: %s: %s", type(error).__name__, error)
            dispatcher = numba.njit(nogil=nogil, fastmath=fast)(source)
        else:
            return _sealed(dispatcher)
    for signature in signatures:
        dispatcher.compile(signature)
    return _sealed(dispatcher)


def _sealed(dispatcher: Any) -> Any:
    """Make other argument types an error: compiling for them would hold up a query for seconds."""
    dispatcher.disable_compile()
    return dispatcher


@functools.cache
def _sources_digest() -> str:
    """Tell one version of the kernels from another: a kernel's code holds that of its parts."""
    digest = hashlib.sha256(numba.__version__.encode())
    folder = importlib.resources.files("prismresonance._kernels")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.name.encode() + b"\x00" + file.read_bytes())
    return digest.hexdigest()[:16]


def _cache_for(source: Callable[..., Any], folder: Path, *, nogil: bool) -> caching.FunctionCache:
    """Make numba keep a function's code in a folder of ours.

    `cache=True` would write beside the source, which breaks `pip uninstall`, and raises where
    neither that nor the home folder can be written to. Setting numba's global cache folder would
    move the caches of the application's own functions.
    """
    digest = _sources_digest()

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
