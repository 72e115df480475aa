"""The optional packages behind the embedders."""

from __future__ import annotations

import importlib.util

from prismresonance.errors import EmbedderConfigurationError

__all__ = ["require"]


def require(extra: str, *modules: str) -> None:
    """Raise unless all modules are installed. None of them is imported.

    Args:
        extra: The extra of this distribution that installs them.
        modules: Names of top-level modules.

    Raises:
        EmbedderConfigurationError: One is missing. The message has the command that installs it.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise EmbedderConfigurationError(
                f'the module {module} is not installed here: pip install "prismresonance[{extra}]"'
            )
