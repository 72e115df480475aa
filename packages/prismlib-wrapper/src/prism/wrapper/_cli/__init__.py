"""The command `prism-wrapper`."""

from prism.wrapper._cli.main import main

__all__ = ["main"]
