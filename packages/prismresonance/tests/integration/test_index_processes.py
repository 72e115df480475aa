"""What only a process of its own can show: imports, environment, forks and the end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

LARGE = """
import time
import numpy as np
from prismresonance import PrismProjector, WaveIndex

def until(condition, deadline_s=120.0):
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)

vectors = np.random.default_rng(0).standard_normal((11_000, 100))
index = WaveIndex(PrismProjector(tenant_id="t"))
index.add_many(vectors)

def answers():
    return [m.id for v in vectors[:20] for m in index.query(v, 1, 0.99)] == list(range(20))
"""


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout


def test_import_and_a_small_index_load_no_numba():
    run(
        """
        import sys
        import prismresonance
        heavy = {"numba", "llvmlite", "onnxruntime", "tokenizers", "openai", "asyncio"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        index = prismresonance.WaveIndex(prismresonance.PrismProjector(tenant_id="t"))
        index.add_many([[1.0, 2.0]] * 1000)
        assert len(index.query([1.0, 2.0])) == 10
        assert index.stats().kernel == "numpy"
        assert not heavy & set(sys.modules)
        for name in prismresonance.__all__:
            assert hasattr(prismresonance, name)
        """
    )


def test_a_large_index_compiles_in_the_background_and_keeps_the_code(tmp_path):
    program = LARGE + textwrap.dedent(
        """
        assert index.stats().kernel in ("compiling", "numba")
        assert answers()
        until(lambda: index.stats().kernel != "compiling")
        assert index.stats().kernel == "numba", index.stats().kernel
        assert answers()
        """
    )
    run(program, PRISM_CACHE_DIR=str(tmp_path))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert len(kept) >= 12
    run(program, PRISM_CACHE_DIR=str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept


def test_no_jit_is_obeyed():
    run(
        LARGE
        + textwrap.dedent(
            """
            import sys
            assert answers()
            assert index.stats().kernel == "disabled"
            assert "numba" not in sys.modules
            """
        ),
        PRISM_NO_JIT="1",
    )


def test_without_any_folder_to_write_to(tmp_path):
    """Read-only containers: a path below a file can be made by nobody, not even by root."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    nowhere = str(blocked / "below")
    program = LARGE + textwrap.dedent(
        """
        from prismresonance._kernels.cache_folder import cache_folder
        assert cache_folder() is None
        until(lambda: index.stats().kernel != "compiling")
        assert index.stats().kernel == "numba", index.stats().kernel
        assert answers()
        """
    )
    program = f"import tempfile; tempfile.tempdir = {nowhere!r}\n{program}"
    environment = dict.fromkeys(
        ("PRISM_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "NUMBA_CACHE_DIR"), nowhere
    )
    run(program, **environment)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX modes")
def test_a_folder_that_others_can_write_to_is_passed_over(tmp_path):
    shared = tmp_path / "shared" / "kernels"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    own = tmp_path / "own"
    out = run(
        "from prismresonance._kernels.cache_folder import cache_folder; print(cache_folder())",
        PRISM_CACHE_DIR=str(shared.parent),
        XDG_CACHE_HOME=str(own),
    )
    assert out.strip() == str(own / "prismresonance" / "kernels")
    assert (own / "prismresonance" / "kernels").stat().st_mode & 0o077 == 0


def test_numba_missing_is_a_state_not_an_error():
    run(
        "import sys; sys.modules['numba'] = None\n"
        + LARGE
        + textwrap.dedent(
            """
            until(lambda: index.stats().kernel != "compiling")
            assert index.stats().kernel.startswith("failed: "), index.stats().kernel
            assert answers()
            """
        )
    )


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.3, 0.6, 0.9])
def test_the_interpreter_can_end_while_compiling(tmp_path, moment):
    run(LARGE + f"time.sleep({moment})  # any moment will do", PRISM_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("moment", [0.0, 0.05, 0.3, 0.6])
def test_a_fork_while_compiling_goes_on_in_both_processes(tmp_path, moment):
    program = LARGE + textwrap.dedent(
        f"""
        import os, warnings
        time.sleep({moment})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads: the point
            child = os.fork()
        assert answers()
        until(lambda: (index.query(vectors[0]), index.stats().kernel)[1] == "numba")
        assert answers()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
    )
    run(program, PRISM_CACHE_DIR=str(tmp_path))


def test_an_empty_index_is_small_and_a_projector_lazy():
    """Alone in its process: a thread that compiles would be measured too."""
    run(
        """
        import tracemalloc
        import numpy as np
        from prismresonance import PrismProjector, WaveIndex
        WaveIndex(PrismProjector(tenant_id="warm")).query(np.ones(384))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        projectors = [PrismProjector(tenant_id=f"tenant {n}") for n in range(1000)]
        idle = (tracemalloc.get_traced_memory()[0] - before) / 1000
        indexes = [WaveIndex(p, indexed_fields=["scope"]) for p in projectors]
        empty = (tracemalloc.get_traced_memory()[0] - before) / 1000
        for index in indexes:
            index.add(np.ones(384, np.float32), {"scope": b"1"})
            index.query(np.ones(384, np.float32), where={"scope": b"1"})
        used = (tracemalloc.get_traced_memory()[0] - before) / 1000
        assert idle < 1_000, idle
        assert empty < 4_000, empty
        assert used < 40_000, used  # the first chunk: 16 rows of 1536 bytes
        """
    )
