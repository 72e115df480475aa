"""What a configuration says to the publisher."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from chorus_fabric import (
    DriverEndpoint,
    FabricConfigurationError,
    PublisherConfig,
    TLSConfig,
    read_secret,
)
from prism.wrapper._config import WrapperConfig
from prism.wrapper.errors import WrapperConfigurationError

__all__ = ["driver_endpoints", "publisher_config", "version"]


def driver_endpoints(config: WrapperConfig) -> Iterator[DriverEndpoint]:
    """Give the drivers that listen and are dialled."""
    for driver in config.chorus.drivers:
        host, _, port = driver.rpartition(":")
        yield DriverEndpoint(host=host, port=int(port), tenant_id=config.chorus.tenant_id)


def publisher_config(config: WrapperConfig, model_id: str, dim: int) -> PublisherConfig:
    """Give what the publisher is told; `dim` is the embedder's full width.

    Raises:
        WrapperConfigurationError: Certificates or secret cannot be used, or the bind is unsafe.
    """
    chorus = config.chorus
    tls = None
    if chorus.certificate and chorus.key and chorus.authority:
        tls = TLSConfig(certificate=chorus.certificate, key=chorus.key, authority=chorus.authority)
    try:
        secret = read_secret(chorus.secret_file) if chorus.secret_file else None
        return PublisherConfig(
            tenant_id=chorus.tenant_id,
            host=chorus.listen_host,
            port=chorus.listen_port,
            node_id=chorus.node_id or None,
            tls=tls,
            secret=secret,
            model_id=model_id,
            dim=dim,
            wire=config.vectors.wire,
            version=version(),
            heartbeat_s=chorus.heartbeat_s,
        )
    except FabricConfigurationError as error:
        raise WrapperConfigurationError(f"[chorus] {error}") from error


def version() -> str:
    """Give the installed version; empty where it runs from a folder of sources."""
    try:
        return importlib.metadata.version("prismlib-wrapper")
    except importlib.metadata.PackageNotFoundError:
        return ""
