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
from prismresonance._kernels.compiled import CompiledKernels
from prismresonance._kernels.compiler import Compiler
from prismresonance._vectors import unit_row, unit_rows


def until(condition, deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.001)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.sampled_from([1, 3, 64, 100, 384]),
    capacity=st.integers(1, 400),
    share=st.floats(0.0, 1.0),
)
def test_both_find_the_same(compiled, seed, width, capacity, share):
    random = np.random.default_rng(seed)
    count = int(capacity * share)
    rows = np.full((capacity, width), np.nan, np.float32)  # what lies behind `count` is not read
    units = unit_rows(random.integers(-2, 3, (count, width)) + 0.5)
    rows[:count] = units.rows
    query = units.rows[0] if count else np.ones(width, np.float32)
    estimates = np.empty(count, np.float32), np.empty(count, np.float32)
    plain.estimate(rows, count, query, estimates[0])
    compiled.estimate(rows, count, query, estimates[1])
    np.testing.assert_allclose(*estimates, atol=1e-5)
    bar = 0.5 + 1e-4
    found, values = plain.collect(rows, count, query, bar)
    found_too, values_too = compiled.collect(rows, count, query, bar)
    clear = np.flatnonzero(np.abs(estimates[0] - bar) > 1e-5)
    np.testing.assert_array_equal(np.intersect1d(found, clear), np.intersect1d(found_too, clear))
    assert (values_too >= np.float32(bar)).all()
    assert (values >= np.float32(bar)).all()
    chosen = np.sort(random.integers(0, max(count, 1), min(count, 50)))
    wide = query.astype(np.float64)
    exact = plain.exact(rows, chosen, wide)
    np.testing.assert_array_equal(exact, compiled.exact(rows, chosen, wide))  # to the last bit
    one_by_one = [sum((rows[row].astype(np.float64) * wide).tolist()) for row in chosen]
    np.testing.assert_array_equal(exact, one_by_one)


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
        answers[name] = [index.query_many(queries, **form) for form in forms]
    assert answers["numpy"] == answers["numba"]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([1, 3, 64, 100, 384]))
def test_both_snap_to_the_same_bits(compiled, seed, width):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((20, width)) * 10.0 ** random.integers(-200, 200, (20, 1))
    ours, numpys = unit_rows(vectors, kernels=compiled), unit_rows(vectors)
    np.testing.assert_array_equal(ours.rows, numpys.rows)
    np.testing.assert_array_equal(ours.squared_norms, numpys.squared_norms)
    for number, vector in enumerate(vectors):
        alone = unit_row(vector, kernels=compiled)
        np.testing.assert_array_equal(alone.rows[0], numpys.rows[number])
        assert alone.squared_norms[0] == numpys.squared_norms[number]


def test_other_types_are_an_error_not_a_compilation(compiled):
    with pytest.raises(TypeError):
        compiled.estimate(np.ones((2, 4)), 2, np.ones(4), np.empty(2))


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
    assert len({path.name.partition(".py")[0] for path in kept}) == 14
    for path in kept:
        path.write_bytes(b"not a pickle")
    kernels = compile_all()
    assert kernels.exact(np.ones((1, 2), np.float32), np.zeros(1, np.int64), np.ones(2)) == [2.0]
