"""The compiled kernels against numpy's, and what happens while they compile or fail to."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prismresonance._index as index_module
from prismresonance import PrismProjector, WaveIndex
from prismresonance._kernels import plain
from prismresonance._kernels.codes import LOW_SCALE, UNKNOWN, new_codes
from prismresonance._kernels.compiled import CompiledKernels
from prismresonance._kernels.compiler import Compiler
from prismresonance._vectors import TOPS, unit_row, unit_rows


def until(condition, deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.001)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.sampled_from([1, 3, 64, 100, 384]),
    count=st.integers(1, 200),
    precision=st.sampled_from(["int16", "int8"]),
)
def test_both_give_the_same_products(compiled, seed, width, count, precision):
    random = np.random.default_rng(seed)
    rows = unit_rows(random.standard_normal((count, width)), precision=precision).rows
    query = unit_row(random.standard_normal(width)).rows[0]
    chosen = np.sort(random.integers(0, count, min(count, 50)))
    exact = plain.exact(rows, chosen, query)
    np.testing.assert_array_equal(exact, compiled.exact(rows, chosen, query))
    one_by_one = [int(rows[row].astype(np.int64) @ query.astype(np.int64)) for row in chosen]
    np.testing.assert_array_equal(exact, one_by_one)


@pytest.mark.parametrize("precision", ["int16", "int8"])
@pytest.mark.parametrize("width", [1, 2, 16, 64, 65_536])
def test_no_sum_leaves_32_bits(compiled, precision, width):
    """The rows that come nearest to it: all components equal, and one alone."""
    extremes = np.ones((3, width), np.float32)
    extremes[1] = -1.0
    extremes[2, 1:] = 1e-9
    units = unit_rows(extremes, precision=precision)
    for number, row in enumerate(units.rows):
        assert units.squared_norms[number] == int((row.astype(np.int64) ** 2).sum())
        for vector in extremes:
            query = unit_row(vector).rows[0]
            true = int(row.astype(np.int64) @ query.astype(np.int64))
            assert abs(true) < 2**31
            assert compiled.exact(units.rows, np.array([number]), query) == [true]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([8, 20, 64, 128, 200]),
    start=st.integers(0, 70),
)
def test_both_encode_the_same(compiled, seed, dim, start):
    random = np.random.default_rng(seed)
    products = random.standard_normal((90, dim)).astype(np.float32)
    products[3] = 0.0
    products[4] = 0.0
    products[4, -1] = -2.0  # too far in one direction for a byte
    codes = [new_codes(start + 90, dim) for _ in range(2)]
    lows = [np.full((start + 90, dim), 55, np.int8) for _ in range(2)]
    for kernels, room, low in zip((plain, compiled), codes, lows, strict=True):
        room[:] = 0xA5
        kernels.encode(products, room, low, start)
        assert (low[:start] == 55).all()
        assert low[start + 4, 0] == UNKNOWN
    np.testing.assert_array_equal(*codes)
    assert np.abs(lows[0].astype(int) - lows[1]).max() <= 1  # where halves round
    assert (lows[0] != lows[1]).mean() < 1e-3
    units = products[5:] / np.linalg.norm(products[5:], axis=1, keepdims=True)
    known = lows[0][start + 5 :, 0] != UNKNOWN
    np.testing.assert_allclose(lows[0][start + 5 :][known] / LOW_SCALE, units[known], atol=0.0021)


@pytest.mark.parametrize("tenant", ["a", "b", "c"])
def test_an_index_answers_the_same_with_both(compiled, monkeypatch, tenant):
    random = np.random.default_rng(11)
    centres = random.standard_normal((40, 96))
    vectors = centres[random.integers(0, 40, 9000)] + 0.4 * random.standard_normal((9000, 96))
    vectors[5000:5200] = vectors[0]  # exact duplicates
    index = WaveIndex(PrismProjector(tenant_id=tenant), indexed_fields=["group"])
    index.add_many(vectors, [{"group": n % 3} for n in range(9000)])
    index.remove_many(range(0, 9000, 7))
    assert index.stats().projected
    queries = np.concatenate([vectors[:6], random.standard_normal((6, 96))])
    forms = [
        {"top_k": 10},
        {"top_k": 300, "threshold": 0.8},
        {"top_k": 5, "threshold": 1.0},
        {"top_k": 10, "where": {"group": 1}},
        {"top_k": 10, "where": {"group": 1}, "threshold": 0.5},
        {"top_k": 10, "exact": True},
    ]
    answers = {}
    for name, kernels in (("numpy", plain), ("numba", compiled)):
        compiler = Compiler(disabled=True)
        compiler.kernels = kernels
        monkeypatch.setattr(index_module, "COMPILER", compiler)
        answers[name] = [
            index.query_many(queries, recall=0.9999, **form)  # neither misses a row by chance
            for form in forms
        ]
    assert answers["numpy"] == answers["numba"]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.sampled_from([1, 3, 64, 100, 384]),
    precision=st.sampled_from(["int16", "int8"]),
)
def test_both_round_to_the_same_integers(compiled, seed, width, precision):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((20, width)) * 10.0 ** random.integers(-200, 200, (20, 1))
    ours = unit_rows(vectors, precision=precision, kernels=compiled)
    numpys = unit_rows(vectors, precision=precision)
    np.testing.assert_array_equal(ours.rows, numpys.rows)
    np.testing.assert_array_equal(ours.squared_norms, numpys.squared_norms)
    for number, vector in enumerate(vectors):
        alone = unit_row(vector, precision=precision, kernels=compiled)
        np.testing.assert_array_equal(alone.rows[0], numpys.rows[number])
    source = np.clip(vectors, -1e30, 1e30).astype(np.float32)
    source[7] = 0.0
    source[9, 0] = np.nan
    room, norms = np.empty(source.shape, precision), np.empty(20, np.int32)
    bad = [kernels.quantise(source, room, norms, 127) for kernels in (plain, compiled)]
    assert bad == [int(np.flatnonzero(~np.isfinite(source).all(1) | ~source.any(1))[0])] * 2


@pytest.mark.parametrize("precision", ["int16", "int8"])
def test_both_round_rows_of_any_length_the_same(compiled, precision):
    lengths = 10.0 ** np.arange(-35, 18)[:, None]
    source = (np.random.default_rng(3).standard_normal((len(lengths), 50)) * lengths).astype("f4")
    source[:, 7] = -5.0 * np.abs(source).max(axis=1)  # the greatest, and negative
    found = []
    for kernels in (plain, compiled):
        rows, norms = np.empty(source.shape, precision), np.empty(len(source), np.int32)
        assert kernels.quantise(source, rows, norms, TOPS[precision]) == -1
        found.append(rows)
    np.testing.assert_array_equal(*found)
    assert (found[0][:, 7] == -127).all() == (precision == "int8")


def test_other_types_are_an_error_not_a_compilation(compiled):
    with pytest.raises(TypeError):
        compiled.exact(np.ones((2, 4)), np.zeros(1, np.int64), np.ones(4))


def test_numpy_answers_until_the_kernels_are_ready():
    go_on = threading.Event()

    def steps():
        yield None
        go_on.wait(60)
        yield plain

    compiler = Compiler(steps)
    assert compiler.state == "numpy"
    compiler.want()
    compiler.want()
    assert compiler.state == "compiling"
    assert compiler.kernels is plain
    go_on.set()
    until(lambda: compiler.state == "numba")


def test_a_failure_leaves_numpy():
    def steps():
        yield None
        raise ImportError("no numba here")

    compiler = Compiler(steps)
    compiler.want()
    until(lambda: compiler.state != "compiling")
    assert compiler.state == "failed: ImportError: no numba here"
    assert compiler.kernels is plain
    compiler.want()
    assert compiler.state.startswith("failed")


def test_disabled_stays_disabled():
    compiler = Compiler(disabled=True)
    compiler.want()
    assert compiler.state == "disabled"


def test_stop_waits_for_the_step_and_takes_no_other():
    taken = []
    started = threading.Event()

    def steps():
        for number in range(1000):
            taken.append(number)
            started.set()
            time.sleep(0.01)  # a step takes time
            yield None

    compiler = Compiler(steps)
    compiler.want()
    started.wait(60)
    compiler.stop()
    count = len(taken)
    assert 1 <= count < 1000
    assert not compiler._thread.is_alive()
    assert len(taken) == count
    Compiler.want(compiler)
    assert compiler.state == "compiling"


def test_a_damaged_cache_is_passed_over(tmp_path):
    def compile_all() -> CompiledKernels:
        kernels = CompiledKernels(tmp_path)
        for _ in kernels.compile():
            pass
        return kernels

    compile_all()
    kept = sorted(tmp_path.iterdir())
    assert {path.suffix for path in kept} == {".nbi", ".nbc"}
    assert len({path.name.partition(".py")[0] for path in kept}) >= 12
    for path in kept:
        path.write_bytes(b"not a pickle")
    kernels = compile_all()
    ones = np.ones((1, 2), np.int16)
    assert kernels.exact(ones, np.zeros(1, np.int64), ones[0]) == [2.0]
