"""The keyed rotation of vectors. It keeps cosines, and it is not encryption."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from chorus_fabric.errors import FabricConfigurationError

__all__ = ["KEY_BYTES", "TensorCipher"]

KEY_BYTES: Final = 32
_BLOCK = 64

# Rows at a time. A product of more than 64 * 64 * 64 multiplications makes OpenBLAS wake its other
# threads and wait for them: on a busy machine that took 14 us a row instead of 0.07.
_ROWS = 64
_ZERO_NONCE = bytes(16)


class TensorCipher:
    """Rotate vectors by a matrix that follows from a key: `V @ K`, and back by `V @ K.T`.

    K is orthogonal, so lengths and cosines stay as they are, up to rounding of about 1e-7. Vectors
    wider than 64 are rotated in blocks of 64 components, each by a matrix of its own, which keeps
    the cost in proportion to the width (0.1 to 0.2 us a block and row).

    This is **not encryption**. It gives each tenant and epoch an address space of its own, so that
    vectors which went astray match nothing. Whoever knows 64 vectors and what became of them can
    solve for K and read all others, and all cosines are there for anyone to see; texts and ids it
    does not touch at all. Confidentiality comes from TLS or from the seal of a session.

    Matrices are made at first use: 0.4 ms and 16 kB for each block of 64. Safe to share between
    threads. The same key gives the same matrices on every machine, up to about 1e-7.

    Args:
        key: 32 bytes, from a key schedule rather than a person.

    Raises:
        FabricConfigurationError: `key` has another length.

    Source: G. W. Stewart, *The efficient generation of random orthogonal matrices* (1980), for
    QR of normals with the signs fixed; RFC 8439 for ChaCha20; G. Box, M. Muller, *A note on the
    generation of random normal deviates* (1958).
    """

    __slots__ = ("_blocks", "_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise FabricConfigurationError(f"a rotation key is {KEY_BYTES} bytes")
        self._key = key
        self._blocks: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    def __repr__(self) -> str:
        return "TensorCipher(key=***)"

    def rotate(
        self, vectors: npt.NDArray[np.float32], out: npt.NDArray[np.float32] | None = None
    ) -> npt.NDArray[np.float32]:
        """Give `V @ K`.

        Args:
            vectors: Shape `(rows, dims)`, float32.
            out: Where to put it, of the same shape; new memory if left out.

        Returns:
            The same shape, in `out` or in memory of its own.
        """
        return self._multiply(vectors, out, is_inverse=False)

    def restore(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Give `V @ K.T`, which undoes `rotate`.

        Args:
            vectors: Shape `(rows, dims)`, float32.

        Returns:
            The same shape, in memory of its own.
        """
        return self._multiply(vectors, None, is_inverse=True)

    def matrix(self, dims: int) -> npt.NDArray[np.float32]:
        """Give K as a whole, shape `(dims, dims)`, to look at; rotating needs its blocks alone."""
        whole = np.zeros((dims, dims), np.float32)
        for start in range(0, dims, _BLOCK):
            end = min(start + _BLOCK, dims)
            whole[start:end, start:end] = self._block(start // _BLOCK, end - start)
        return whole

    def _multiply(
        self,
        vectors: npt.NDArray[np.float32],
        out: npt.NDArray[np.float32] | None,
        *,
        is_inverse: bool,
    ) -> npt.NDArray[np.float32]:
        rotated = np.empty(vectors.shape, np.float32) if out is None else out
        dims = vectors.shape[1]
        # What is not finite stays so; the callers look for it.
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, dims, _BLOCK):
                part = slice(start, min(start + _BLOCK, dims))
                block = self._block(start // _BLOCK, part.stop - start)
                key = block.T if is_inverse else block
                for row in range(0, len(vectors), _ROWS):
                    rows = slice(row, row + _ROWS)
                    np.matmul(vectors[rows, part], key, out=rotated[rows, part])
        return rotated

    def _block(self, number: int, width: int) -> npt.NDArray[np.float32]:
        block = self._blocks.get((number, width))
        if block is not None:
            return block
        # Two threads may both make it; they make the same one, and the first stays.
        return self._blocks.setdefault((number, width), self._make_block(number, width))

    def _make_block(self, number: int, width: int) -> npt.NDArray[np.float32]:
        label = b"chorus-fabric rotation %d %d" % (number, width)
        seed = HKDFExpand(hashes.SHA256(), 32, label).derive(self._key)
        q, r = np.linalg.qr(_normals(seed, width * width).reshape(width, width))
        # QR leaves each column's sign open; a positive diagonal of R makes Q unique.
        q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        block: npt.NDArray[np.float32] = q.astype(np.float32)
        block.flags.writeable = False
        return block


def _normals(seed: bytes, count: int) -> npt.NDArray[np.float64]:
    """Draw standard normal numbers from ChaCha20: numpy does not promise its own streams."""
    pairs = (count + 1) // 2
    stream = Cipher(algorithms.ChaCha20(seed, _ZERO_NONCE), mode=None).encryptor()
    bits = np.frombuffer(stream.update(bytes(16 * pairs)), "<u8") >> np.uint64(11)
    uniform = bits.astype(np.float64) * 2.0**-53  # exact: 53 bits
    radius = np.sqrt(-2.0 * np.log1p(-uniform[0::2]))  # 1 - u lies in (0, 1]
    angle = 2.0 * np.pi * uniform[1::2]
    both = np.empty(2 * pairs)
    both[0::2] = radius * np.cos(angle)
    both[1::2] = radius * np.sin(angle)
    return both[:count]
