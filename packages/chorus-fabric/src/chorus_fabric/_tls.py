"""Mutual TLS for gRPC: credentials from files, read anew when the files change."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from chorus_fabric._authority import facts_of, load_certificate, load_key, matches
from chorus_fabric._identity import Identity, tenant_host
from chorus_fabric._secret_files import read_file
from chorus_fabric.errors import CertificateError

__all__ = [
    "TLSConfig",
    "TLSFiles",
    "channel_credentials",
    "channel_options",
    "server_credentials",
]

Parsed = TypeVar("Parsed")

_log = logging.getLogger("chorus_fabric.tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """The files of a node: its certificate, its key, and the authority that all nodes trust.

    Attributes:
        certificate: What `chorus-fabric issue` wrote as `node.pem`.
        key: What it wrote as `node.key`.
        authority: What `chorus-fabric ca init` wrote as `ca.pem`; several certificates in one
            file are all trusted, as when an old authority is replaced.
    """

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    authority: str | os.PathLike[str]

    @classmethod
    def in_folder(cls, folder: str | os.PathLike[str]) -> TLSConfig:
        """Name the files as `chorus-fabric issue` writes them into one folder."""
        path = Path(folder)
        return cls(certificate=path / "node.pem", key=path / "node.key", authority=path / "ca.pem")

    @property
    def identity(self) -> Identity:
        """Whose certificate it is, read from the file now.

        Raises:
            CertificateError: It cannot be read, or names no node of ours.
        """
        identity = facts_of(read_file(Path(self.certificate))).identity
        if identity is None:
            raise CertificateError(
                "names no node: issue it with `chorus-fabric issue`", path=str(self.certificate)
            )
        return identity


class TLSFiles:
    """Watches the files of a node for those who want to know that they changed.

    A channel keeps the certificate that it began with. A client that lives longer than its
    certificate asks `changed()` from time to time, opens a new channel when it is true, moves its
    streams over and closes the old one. Safe to share between threads.

    Args:
        config: The files.

    Raises:
        CertificateError: They are missing, unreadable or do not belong together.
    """

    def __init__(self, config: TLSConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._stamps = self._read_stamps()
        self._content = _read(config)

    @property
    def content(self) -> tuple[bytes, bytes, bytes]:
        """Key, certificate and authority as they were when last read."""
        return self._content

    def changed(self) -> bool:
        """Whether other files are there than at the last call, and they are whole.

        Costs three looks at the file system while nothing changes. Files that do not belong
        together, as between the two of a renewal, are told in the log and looked at again.
        """
        with self._lock:
            stamps = self._read_stamps()
            if stamps == self._stamps:
                return False
            try:
                content = _read(self._config)
            except CertificateError as error:
                _log.warning("certificate files changed and cannot be used yet: %s", error)
                return False
            self._stamps = stamps
            is_new = content != self._content
            self._content = content
            return is_new

    def _read_stamps(self) -> tuple[object, ...]:
        """What tells that a file is another; a missing one has a stamp too."""
        stamps: list[object] = []
        for path in (self._config.key, self._config.certificate, self._config.authority):
            try:
                found = Path(path).stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return tuple(stamps)


def server_credentials(config: TLSConfig) -> grpc.ServerCredentials:
    """Give credentials for a server that asks each client for a certificate of the same authority.

    The files are looked at on each handshake: replace them, and the next client meets the new
    certificate, with no restart. Connections that are open go on.

    Raises:
        CertificateError: The files are missing, unreadable or do not belong together.
    """
    files = TLSFiles(config)

    def configuration() -> grpc.ServerCertificateConfiguration:
        key, certificate, authority = files.content
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=authority
        )

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Nothing new: gRPC goes on with what it has.
        return configuration() if files.changed() else None

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        fetch,  # type: ignore[arg-type]  # the stubs leave out that `None` means no change
        require_client_authentication=True,
    )


def channel_credentials(config: TLSConfig) -> grpc.ChannelCredentials:
    """Give credentials for a channel that shows a certificate and trusts this authority alone.

    Use them with `channel_options`, which says whose certificate the server must show. They are
    fixed: see `TLSFiles` for when to open a new channel.

    Raises:
        CertificateError: The files are missing, unreadable or do not belong together.
    """
    key, certificate, authority = _read(config)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def channel_options(tenant_id: str) -> list[tuple[str, str]]:
    """Give the options of a channel that accepts a server of this tenant alone.

    TLS then looks for the tenant's name in the server's certificate, not for the address dialled.
    """
    return [("grpc.ssl_target_name_override", tenant_host(tenant_id))]


def _read(config: TLSConfig) -> tuple[bytes, bytes, bytes]:
    paths = [Path(path) for path in (config.key, config.certificate, config.authority)]
    key, certificate, authority = map(read_file, paths)
    own_key = _parsed(load_key, key, paths[0])
    own = _parsed(load_certificate, certificate, paths[1])
    _parsed(load_certificate, authority, paths[2])
    if not matches(own, own_key):
        raise CertificateError(f"does not belong to {paths[1]}", path=str(paths[0]))
    return key, certificate, authority


def _parsed(parse: Callable[[bytes], Parsed], pem: bytes, path: Path) -> Parsed:
    try:
        return parse(pem)
    except CertificateError as error:
        raise CertificateError(str(error), path=str(path)) from None
