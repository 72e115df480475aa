from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from chorus_fabric import FabricConfigurationError, TensorCipher
from chorus_fabric._cipher import _normals

KEY = bytes(range(32))
# Entry (0, 0), (0, 1), (1, 0) and (7, 7) of K for 8 dims under KEY, spelled out in a test below.
CORNER = (0.46848336, 0.33419272, 0.24522981, 0.12465469)


def rows(count: int, dims: int) -> np.ndarray:
    numbers = np.random.default_rng(count + dims).standard_normal((count, dims))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 300))
def test_it_keeps_cosines_and_comes_back(key: bytes, dims: int) -> None:
    cipher, vectors = TensorCipher(key), rows(5, dims)
    rotated = cipher.rotate(vectors)
    assert np.allclose(rotated @ rotated.T, vectors @ vectors.T, atol=5e-6)
    assert np.allclose(cipher.restore(rotated), vectors, atol=5e-6)


@pytest.mark.parametrize("dims", [1, 8, 64, 65, 384])
def test_it_is_the_product_with_an_orthogonal_matrix(dims: int) -> None:
    cipher, vectors = TensorCipher(KEY), rows(4, dims)
    matrix = cipher.matrix(dims)
    assert np.allclose(matrix @ matrix.T, np.eye(dims), atol=1e-6)
    assert np.allclose(cipher.rotate(vectors), vectors @ matrix, atol=1e-6)


def test_other_keys_and_blocks_have_other_matrices() -> None:
    one, other = TensorCipher(KEY), TensorCipher(KEY[::-1])
    assert np.abs(one.matrix(64) - other.matrix(64)).max() > 0.1
    whole = one.matrix(128)
    assert np.abs(whole[:64, :64] - whole[64:, 64:]).max() > 0.1
    # Vectors that went astray match nothing.
    vectors = rows(1, 384)
    assert abs((one.rotate(vectors) @ other.rotate(vectors).T).item()) < 0.3


def test_the_matrix_follows_from_the_key_as_the_docstring_says() -> None:
    """Spell it out without the code under test: RFC 5869's expand, ChaCha20, Box-Muller, QR."""
    label = b"chorus-fabric rotation 0 8"

    seed = hmac.digest(KEY, label + b"\x01", "sha256")
    stream = Cipher(algorithms.ChaCha20(seed, bytes(16)), None).encryptor().update(bytes(512))
    words = [int.from_bytes(stream[at : at + 8], "little") >> 11 for at in range(0, 512, 8)]
    normals = []
    for first, second in zip(words[::2], words[1::2], strict=True):
        radius = np.sqrt(-2 * np.log(1 - first / 2**53))
        normals += [radius * np.cos(2 * np.pi * second / 2**53)]
        normals += [radius * np.sin(2 * np.pi * second / 2**53)]
    gaussian = np.array(normals).reshape(8, 8)
    columns = []
    for column in gaussian.T:  # Gram and Schmidt give Q with a positive diagonal of R
        for before in columns:
            column = column - (column @ before) * before
        columns.append(column / np.linalg.norm(column))
    matrix = TensorCipher(KEY).matrix(8)
    assert np.allclose(matrix, np.array(columns).T, atol=1e-6)
    found = (matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[7, 7])
    assert np.allclose(found, CORNER, atol=1e-6), found


def test_the_normals_are_the_same_everywhere() -> None:
    drawn = _normals(bytes(32), 7)
    # ChaCha20's first block under a zero key and nonce is in RFC 8439, A.1: 76b8e0ada0f13d90...
    first = int.from_bytes(bytes.fromhex("76b8e0ada0f13d90"), "little") >> 11
    second = int.from_bytes(bytes.fromhex("405d6ae55386bd28"), "little") >> 11
    radius = np.sqrt(-2 * np.log1p(-first / 2**53))
    assert drawn[0] == pytest.approx(radius * np.cos(2 * np.pi * second / 2**53), rel=1e-12)
    assert len(drawn) == 7
    many = _normals(hashlib.sha256(b"many").digest(), 100_000)
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_a_key_of_another_length_is_refused_and_never_shown() -> None:
    with pytest.raises(FabricConfigurationError, match="32 bytes"):
        TensorCipher(b"short")
    assert repr(TensorCipher(KEY)) == "TensorCipher(key=***)"
