"""Kernels compiled once for all tests of this folder."""

from __future__ import annotations

import pytest

import prismresonance._index as index_module
from prismresonance._kernels.compiled import CompiledKernels
from prismresonance._kernels.compiler import Compiler


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> CompiledKernels:
    kernels = CompiledKernels(tmp_path_factory.mktemp("kernels"))
    for _ in kernels.compile():
        pass
    return kernels


@pytest.fixture
def only_compiled(compiled, monkeypatch) -> None:
    """Make every index answer by the compiled kernels, however small it is."""
    compiler = Compiler(disabled=True)
    compiler.kernels = compiled
    monkeypatch.setattr(index_module, "COMPILER", compiler)
