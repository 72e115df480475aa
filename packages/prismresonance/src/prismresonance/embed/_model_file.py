"""Model files inside installed wheels, checked before they are used."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from prismresonance.errors import ModelFileError

__all__ = ["packaged_file", "verified_bytes"]


def packaged_file(package: str, *parts: str) -> Path:
    """Locate a file of an installed package without running any of the package's code.

    Args:
        package: A top-level package.
        parts: Path of the file inside it.

    Returns:
        Where the file should be; it may be missing.

    Raises:
        ModelFileError: The package is not installed in a folder.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelFileError(f"the package {package} has no folder to read model files from")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def verified_bytes(path: Path, *, sha256: str) -> bytes:
    """Read a file once and return its bytes if they are the expected ones.

    The bytes that were hashed are the ones returned, so a file exchanged after the check is not
    used. Cost: O(file size), about 1.5 ms per megabyte.

    Args:
        path: The file.
        sha256: The pinned hash, in lower-case hexadecimal.

    Raises:
        ModelFileError: The file is missing, unreadable or another one.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"the model file {path} cannot be read ({error.strerror}); reinstall its package"
        ) from error
    found = hashlib.sha256(contents).hexdigest()
    if found != sha256:
        raise ModelFileError(
            f"the model file {path} has SHA-256 {found}, expected {sha256}; reinstall its package"
        )
    return contents
