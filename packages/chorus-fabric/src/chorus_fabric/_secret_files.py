"""Files that hold keys: made for their owner alone, and never half written."""

from __future__ import annotations

import base64
import os
import secrets
import stat
import tempfile
from pathlib import Path

from chorus_fabric.errors import CertificateError, FabricConfigurationError

__all__ = ["new_secret", "read_file", "read_secret", "write_file"]

_OWNER_ONLY = 0o600
_ALL_READ = 0o644
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SECRET_BYTES = 32
_LARGEST = 1 << 20


def write_file(path: Path, content: bytes, *, is_secret: bool) -> None:
    """Write a file as a whole or not at all, over one that is there.

    Args:
        path: Where to.
        content: What to write.
        is_secret: Whether its owner alone may read it.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(_OWNER_ONLY if is_secret else _ALL_READ)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_file(path: Path) -> bytes:
    """Read a certificate or key file.

    Raises:
        CertificateError: It is missing, unreadable or far too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise CertificateError(f"cannot be read ({error.strerror})", path=str(path)) from None
    if len(content) > _LARGEST:
        raise CertificateError("is over 1 MB, not a certificate or key", path=str(path))
    return content


def new_secret() -> bytes:
    """Make a tenant's secret: 32 random bytes as text."""
    return base64.b64encode(secrets.token_bytes(_SECRET_BYTES))


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """Read a tenant's secret from a file, such as `chorus-fabric secret` makes.

    Args:
        path: The file; spaces and line ends around the secret do not count.

    Raises:
        FabricConfigurationError: It is missing, empty, or other users may read it.
    """
    file = Path(path)
    content = read_file(file).strip()
    if not content:
        raise FabricConfigurationError(f"{file}: the secret is empty")
    if os.name == "posix" and file.stat().st_mode & _OTHERS:
        raise FabricConfigurationError(f"{file}: others may read the secret: `chmod 600 {file}`")
    return content
