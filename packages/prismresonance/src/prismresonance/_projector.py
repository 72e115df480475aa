"""The projection that gives each tenant its own 64-dimensional address space."""

from __future__ import annotations

import hashlib
import operator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prismresonance._kernels.plain import dots
from prismresonance._vectors import float_row, float_rows, real_array, squared_lengths
from prismresonance.errors import InvalidArgumentError

if TYPE_CHECKING:
    from prismresonance._kernels.interface import Integers

__all__ = ["MAX_DIM", "MIN_DIM", "PrismProjector"]

MIN_DIM = 8
MAX_DIM = 1024

_DOMAIN = b"prismresonance projection 1\x00"
_BLOCK_ROWS = 4096

# A product of more multiplications makes OpenBLAS wake its other threads and wait for them. On a
# busy machine that took 4 to 20 us a row (median of 10,000 rows of 64 to 384) instead of .1 to .6.
_ONE_THREAD_PRODUCTS = 1 << 18
_REGISTER_ROWS = 8


class PrismProjector:
    """Project vectors of any width to `dim` dimensions, each tenant by a matrix of its own.

    The matrix is orthonormal: the Q of a Gaussian matrix whose entries come from
    SHA-256(tenant_id), all 256 bits of it. Cosines survive it with a standard error of about
    `(1 - c*c) / sqrt(dim - 2)` at a cosine of `c`; vectors no wider than `dim` keep theirs
    exactly. The same tenant id gives the same matrix on every machine, up to about 1e-6 (the
    linear algebra underneath rounds differently from one to the next).

    This is an address space: vectors of two tenants are not comparable, which catches mix-ups.
    It is **not a secret and not access control**: whoever knows the tenant id, or some vectors
    and their projections, knows the matrix. Keep tenants apart by giving each its own index.

    A projector costs nothing until its first use; then `4 * dim * width` bytes for each width
    (98 kB for 384). Safe to share between threads and indexes.

    Args:
        dim: Width of the projected space, 8 to 1024. Raising it makes the estimates sharper (fewer
            candidates to check at full width) and the scan longer and larger, in proportion.
        tenant_id: Names the address space; any text but the empty one.

    Raises:
        InvalidArgumentError: `dim` or `tenant_id` is outside of that.

    Source: W. Johnson, J. Lindenstrauss, *Extensions of Lipschitz mappings into a Hilbert space*
    (1984); G. W. Stewart, *The efficient generation of random orthogonal matrices* (1980), for
    the sign convention that makes Q uniform and unique.
    """

    __slots__ = ("_dim", "_matrices", "_tenant_id")

    def __init__(self, *, dim: int = 64, tenant_id: str) -> None:
        try:
            self._dim = operator.index(dim)
        except TypeError:
            raise InvalidArgumentError(f"dim is a whole number, got {dim!r}") from None
        if isinstance(dim, bool) or not MIN_DIM <= self._dim <= MAX_DIM:
            raise InvalidArgumentError(f"dim is {MIN_DIM} to {MAX_DIM}, got {dim!r}")
        if not tenant_id or not isinstance(tenant_id, str):
            raise InvalidArgumentError("tenant_id is a text and not empty")
        try:
            tenant_id.encode()
        except UnicodeEncodeError:
            raise InvalidArgumentError("tenant_id holds a lone surrogate, not text") from None
        self._tenant_id = tenant_id
        self._matrices: dict[int, npt.NDArray[np.float32]] = {}

    @property
    def dim(self) -> int:
        """Width of the projected space."""
        return self._dim

    @property
    def tenant_id(self) -> str:
        """Names the address space."""
        return self._tenant_id

    def __repr__(self) -> str:
        return f"PrismProjector(dim={self._dim}, tenant_id={self._tenant_id!r})"

    def project(self, vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Project one vector or many, and scale each result to length 1.

        Args:
            vectors: Shape `(width,)` or `(n, width)`, finite and not zero, of any real type.

        Returns:
            Shape `(dim,)` or `(n, dim)`; an empty list is no vectors. A vector that the matrix
            sends to zero (none does unless it was made to) gives zeros.

        Raises:
            InvalidVectorError: A vector is not finite, is zero, or has a wrong shape or type.
        """
        array = real_array(vectors)
        single = array.ndim == 1 and array.size > 0
        source = float_row(array, width=None)[None] if single else float_rows(array, width=None)
        lengths = np.sqrt(squared_lengths(source, single=single))
        projected = self.products((source / lengths[:, np.newaxis]).astype(np.float32))
        norms = np.sqrt(np.vecdot(projected, projected))
        norms[norms == 0.0] = 1.0
        projected /= norms[:, np.newaxis]
        return projected[0] if single else projected

    def products(self, rows: Integers | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Multiply checked rows with the matrix: `(n, width)` to `(n, dim)`, of any length."""
        count, width = rows.shape
        matrix = self.matrix(width)
        products = np.empty((count, self._dim), np.float32)
        if count == 1:
            products[0] = dots(matrix, rows[0].astype(np.float32))
        else:
            for start in range(0, count, _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
                _multiply(rows[block].astype(np.float32), matrix, products[block])
        return products

    def matrix(self, width: int) -> npt.NDArray[np.float32]:
        """Give the matrix for vectors of one width, made at its first use.

        Args:
            width: Width of the vectors to project.

        Returns:
            Shape `(dim, width)`, float32, read-only: orthonormal rows, or orthonormal columns when
            `width < dim`. Costs O(width * dim**2) once (8 ms for 384), later a dictionary look-up.
        """
        matrix = self._matrices.get(width)
        if matrix is not None:
            return matrix
        # Two threads may both make it; they make the same one, and the first stays.
        return self._matrices.setdefault(width, self._make_matrix(width))

    def _make_matrix(self, width: int) -> npt.NDArray[np.float32]:
        tall, slim = max(width, self._dim), min(width, self._dim)
        seed = hashlib.sha256(self._tenant_id.encode()).digest()
        label = b"%d x %d" % (tall, slim)
        gaussian = normals(_DOMAIN + label + b"\x00" + seed, tall * slim).reshape(tall, slim)
        q, r = np.linalg.qr(gaussian)
        # QR leaves each column's sign open; a positive diagonal of R makes Q unique.
        q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        matrix: npt.NDArray[np.float32] = np.ascontiguousarray(
            q.T if width >= self._dim else q, dtype=np.float32
        )
        matrix.flags.writeable = False
        return matrix


def _multiply(
    rows: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32], out: npt.NDArray[np.float32]
) -> None:
    """Multiply with the matrix laid down: a few rows at a time, in the calling thread alone."""
    count, step = len(rows), _ONE_THREAD_PRODUCTS // matrix.size
    turned = matrix.T
    if step < _REGISTER_ROWS:  # of so wide a matrix, small products cost more than the waiting
        step = count
    elif count > step:
        step -= step % _REGISTER_ROWS
        # Upright, the few rows of a block are added up in the same order as many.
        turned = np.ascontiguousarray(turned)
    for start in range(0, count, step):
        # A lone row would be added up in another order: it goes with the one before.
        part = slice(min(start, max(0, count - 2)), start + step)
        np.matmul(rows[part], turned, out=out[part])


def normals(seed: bytes, count: int) -> npt.NDArray[np.float64]:
    """Draw standard normal numbers that are the same everywhere and for ever.

    numpy does not promise the streams of its own normal generators across versions, so the bits
    come from SHAKE-256 and the normals from the Box-Muller transform.

    Args:
        seed: Any bytes.
        count: How many numbers.

    Returns:
        Shape `(count,)`. Equal on all platforms up to the last bits of `log`, `sin` and `cos`.

    Source: FIPS 202 (SHAKE-256); G. Box, M. Muller, *A note on the generation of random normal
    deviates* (1958).
    """
    pairs = (count + 1) // 2
    stream = hashlib.shake_256(seed).digest(16 * pairs)
    bits = np.frombuffer(stream, dtype="<u8").astype(np.uint64) >> np.uint64(11)
    uniform = bits.astype(np.float64) * 2.0**-53  # exact: 53 bits
    radius = np.sqrt(-2.0 * np.log1p(-uniform[0::2]))  # 1 - u lies in (0, 1]
    angle = 2.0 * np.pi * uniform[1::2]
    both = np.empty(2 * pairs)
    both[0::2] = radius * np.cos(angle)
    both[1::2] = radius * np.sin(angle)
    return both[:count]
