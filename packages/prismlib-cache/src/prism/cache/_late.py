"""Names of a package whose modules are loaded when somebody asks for the name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

__all__ = ["late"]


def late(package: str, **modules: str) -> Callable[[str], object]:
    """Make a package's `__getattr__` (PEP 562).

    Args:
        package: Its `__name__`.
        modules: The modules in which the names are, by name.
    """

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return find
