"""The projection: the same everywhere, orthonormal, different for each tenant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance import InvalidArgumentError, InvalidVectorError, PrismProjector
from prismresonance._projector import normals

NORMALS = [-0.640592004742401, 1.52335809543213, 0.47016158913661, -0.352241586259505]
CORNER = [[-0.014162811, 0.016272776, 0.019517299], [-0.0051151458, 0.017561086, 0.019576851]]
NARROW = [-0.13995068, 0.26328433, -0.14067885]


def test_known_answers():
    # Must never change: stored projections of all tenants would lose their meaning.
    np.testing.assert_allclose(normals(b"prism", 4), NORMALS, rtol=0, atol=1e-12)
    matrix = PrismProjector(dim=64, tenant_id="my-tenant").matrix(384)
    np.testing.assert_allclose(matrix[:2, :3], CORNER, rtol=0, atol=1e-6)
    narrow = PrismProjector(dim=64, tenant_id="my-tenant").matrix(10)
    np.testing.assert_allclose(narrow[0, :3], NARROW, rtol=0, atol=1e-6)


def test_normals_are_normal():
    drawn = normals(b"seed", 200_001)
    assert len(drawn) == 200_001
    assert np.isfinite(drawn).all()
    powers = [np.mean(drawn**power) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(powers, [0, 1, 0, 3], atol=0.1)
    assert abs(np.mean(drawn[:-1] * drawn[1:])) < 0.01


@pytest.mark.parametrize("width", [64, 65, 384, 1536])
def test_wide_vectors_meet_orthonormal_rows(width):
    matrix = PrismProjector(tenant_id="t").matrix(width)
    assert matrix.shape == (64, width)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1.0


@given(st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_narrow_vectors_keep_their_cosines(width, seed):
    vectors = np.random.default_rng(seed).standard_normal((5, width))
    projected = PrismProjector(tenant_id="t").project(vectors)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(projected @ projected.T, units @ units.T, atol=2e-6)


def test_each_tenant_has_a_space_of_its_own():
    vector = np.random.default_rng(1).standard_normal(384)
    spaces = [PrismProjector(tenant_id=f"tenant {n}").project(vector) for n in range(50)]
    cosines = np.array(spaces) @ np.array(spaces).T
    assert np.abs(cosines - np.eye(50)).max() < 0.6  # standard error of 64 dimensions: 0.125
    again = PrismProjector(tenant_id="tenant 7").project(vector)
    np.testing.assert_array_equal(again, spaces[7])
    assert again.shape == (64,)


def test_one_and_many_agree():
    vectors = np.random.default_rng(2).standard_normal((10_000, 100))
    projector = PrismProjector(dim=32, tenant_id="t")
    many = projector.project(vectors)
    assert many.shape == (10_000, 32)
    for number in (0, 4095, 4096, 9_999):
        np.testing.assert_allclose(projector.project(vectors[number]), many[number], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, atol=1e-6)
    assert projector.project(np.empty((0, 100))).shape == (0, 32)


@pytest.mark.parametrize("width", [64, 256, 384, 512])
def test_no_product_is_large_enough_to_wake_other_threads(width, monkeypatch):
    largest = 0
    matmul = np.matmul

    def watched(rows, matrix, out):
        nonlocal largest
        largest = max(largest, rows.size * matrix.shape[1])
        assert len(rows) > 1  # a lone row is rounded in another order
        return matmul(rows, matrix, out=out)

    projector = PrismProjector(dim=64, tenant_id="t")
    rows = np.random.default_rng(5).standard_normal((5000, width)).astype(np.float32)
    expected = rows.astype(np.float64) @ projector.matrix(width).T
    monkeypatch.setattr("prismresonance._projector.np.matmul", watched)
    for count in (2, 3, 9, 65, 4096, 5000):
        products = projector.products(rows[:count])
        np.testing.assert_allclose(products, expected[:count], atol=2e-5)
    assert 0 < largest <= 64**3


@pytest.mark.parametrize(
    "arguments",
    [
        {"tenant_id": ""},
        {"tenant_id": None},
        {"tenant_id": b"t"},
        {"tenant_id": "\ud800"},
        {"tenant_id": "t", "dim": 7},
        {"tenant_id": "t", "dim": 2000},
        {"tenant_id": "t", "dim": 64.0},
        {"tenant_id": "t", "dim": True},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(InvalidArgumentError):
        PrismProjector(**arguments)


def test_bad_vectors():
    projector = PrismProjector(tenant_id="t")
    for bad in ([0.0, 0.0], [[1.0, np.nan]], "text", [[[1.0]]], 3.0, [[1], [1, 2]]):
        with pytest.raises(InvalidVectorError):
            projector.project(bad)
    assert projector.project([]).shape == (0, 64)
