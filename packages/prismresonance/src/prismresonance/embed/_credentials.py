"""Keys, read so that they cannot end up in an error text."""

from __future__ import annotations

import os

from prismresonance.errors import EmbedderConfigurationError

__all__ = ["read_key"]


def read_key(given: str | None, *, variable: str) -> str:
    """Return the key a provider wants.

    Args:
        given: The argument `api_key`; it takes precedence.
        variable: The environment variable to read otherwise.

    Raises:
        EmbedderConfigurationError: There is no key, or it cannot be sent.
    """
    # A key read from a file often ends in a newline.
    key = (given or os.environ.get(variable, "")).strip()
    if not key:
        raise EmbedderConfigurationError(f"no API key: set {variable}, or pass api_key=...")
    if not (key.isascii() and key.isprintable()):
        # HTTP libraries quote the header they cannot send, so it must not get as far as that.
        raise EmbedderConfigurationError(
            f"the API key from api_key=... or {variable} has characters that no key has"
        )
    return key
