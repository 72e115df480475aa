"""Refuse to open a server to the network without protection."""

from __future__ import annotations

import ipaddress

from chorus_fabric._tls import TLSConfig
from chorus_fabric.errors import UnsafeBindError

__all__ = ["check_bind"]


def check_bind(host: str, tls: TLSConfig | None, secret: bytes | str | None) -> None:
    """Raise if a server on this host could be reached by others and has nothing to tell them apart.

    Args:
        host: What the server binds to: an address, a name, or `unix:/path`.
        tls: Its certificates, if it has some.
        secret: The tenant's secret, if it has one.

    Raises:
        UnsafeBindError: The host is not loopback, and there is neither.
    """
    if tls is not None or secret is not None or _is_loopback(host):
        return
    raise UnsafeBindError(
        f"{host or 'every address'} can be reached from other machines, and neither certificates "
        "nor a secret are set: make some with `chorus-fabric ca init` and `chorus-fabric issue`, "
        "set a secret, or bind to 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    if host.startswith(("unix:", "unix-abstract:")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        # A name may mean anything, and may mean something else tomorrow.
        return False
