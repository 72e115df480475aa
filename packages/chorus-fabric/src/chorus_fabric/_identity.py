"""Who a certificate says its holder is: `spiffe://prism/<tenant>/<node>`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from chorus_fabric._hello import check_name
from chorus_fabric.errors import IdentityError

__all__ = ["EVERY_TENANT", "Identity", "node_host", "peer_identity", "tenant_host"]

EVERY_TENANT: Final = "*"

_PREFIX = "spiffe://prism/"
_HOST_SUFFIX = ".tenant.prism.internal"
_NODE_SUFFIX = ".node.prism.internal"
_URIS, _TLS_VERSION = "peer_uri", "ssl_tls_version"


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A node of a tenant; `*` as the tenant is a node that serves all of them.

    Attributes:
        tenant_id: The tenant, or `*`.
        node: The node's name.

    Raises:
        FabricConfigurationError: A name is empty, over 256 bytes or not text.
    """

    tenant_id: str
    node: str

    def __post_init__(self) -> None:
        check_name("tenant_id", self.tenant_id)
        check_name("node", self.node)

    @property
    def uri(self) -> str:
        """As it stands in a certificate. What a URI does not allow in a name is percent-encoded."""
        tenant = self.tenant_id if self.tenant_id == EVERY_TENANT else _quote(self.tenant_id)
        return f"{_PREFIX}{tenant}/{_quote(self.node)}"

    @property
    def host(self) -> str:
        """The name that TLS compares; see `tenant_host`."""
        if self.tenant_id == EVERY_TENANT:
            return EVERY_TENANT + _HOST_SUFFIX
        return tenant_host(self.tenant_id)

    @property
    def node_host(self) -> str:
        """The name that TLS compares where one node is meant; see `node_host`."""
        return node_host(self.tenant_id, self.node)

    @classmethod
    def from_uri(cls, uri: str) -> Identity | None:
        """Read one; `None` if the URI is of another kind."""
        if not uri.startswith(_PREFIX):
            return None
        tenant, slash, node = uri.removeprefix(_PREFIX).partition("/")
        if not slash or not tenant or not node or "/" in node:
            return None
        try:
            identity = cls(
                EVERY_TENANT if tenant == EVERY_TENANT else unquote(tenant, errors="strict"),
                unquote(node, errors="strict"),
            )
        except ValueError:
            return None
        # One spelling only: what reads the same must be the same.
        return identity if identity.uri == uri else None

    def serves(self, tenant_id: str) -> bool:
        """Whether it may speak for a tenant."""
        return self.tenant_id in (EVERY_TENANT, tenant_id)

    def check(self, *, tenant_id: str, node: str | None = None) -> None:
        """Raise unless this identity may speak for a tenant, and is a node if one is named.

        Args:
            tenant_id: The tenant that the peer claims to speak for.
            node: The name that it gave itself.

        Raises:
            IdentityError: It may not, or is another node.
        """
        if not self.serves(tenant_id):
            raise IdentityError(
                f"the peer's certificate is of tenant {self.tenant_id!r}, not of {tenant_id!r}"
            )
        if node is not None and node != self.node:
            raise IdentityError(
                f"the peer's certificate is of node {self.node!r}, it calls itself {node!r}"
            )


def tenant_host(tenant_id: str) -> str:
    """Give the DNS name that stands for a tenant in its nodes' certificates.

    A client asks TLS to find this name in the server's certificate, in place of the address it
    dialled: so it talks to a server of its own tenant wherever that runs, and certificates need
    not be issued anew when a machine moves. A certificate for every tenant has a wildcard.
    """
    check_name("tenant_id", tenant_id)
    return hashlib.sha256(tenant_id.encode()).hexdigest()[:32] + _HOST_SUFFIX


def node_host(tenant_id: str, node: str) -> str:
    """Give the DNS name that stands for one node of a tenant in its certificate.

    A client that asks TLS to find this name talks to that node and to no other of its tenant.
    """
    check_name("tenant_id", tenant_id)
    check_name("node", node)
    named = hashlib.sha256(f"{len(tenant_id)} {tenant_id} {node}".encode()).hexdigest()
    return named[:32] + _NODE_SUFFIX


def peer_identity(auth_context: Mapping[str, Iterable[bytes]]) -> Identity:
    """Read who the other side of a call is.

    Python's gRPC cannot be told to refuse TLS 1.2 in the handshake; it is refused here.

    Args:
        auth_context: What `auth_context()` of a gRPC servicer's context gives.

    Returns:
        The identity in the certificate that the peer proved to hold.

    Raises:
        IdentityError: There is no certificate, or it does not hold exactly one identity, or the
            connection is older than TLS 1.3.
    """
    uris = [bytes(uri).decode("utf-8", "replace") for uri in auth_context.get(_URIS, ())]
    found = {identity for uri in uris if (identity := Identity.from_uri(uri)) is not None}
    if len(found) != 1:
        raise IdentityError(
            f"the peer's certificate names {len(found)} nodes of ours, one is needed: connect "
            "with mutual TLS and a certificate of `chorus-fabric issue`"
        )
    if b"TLSv1.3" not in auth_context.get(_TLS_VERSION, (b"TLSv1.3",)):
        raise IdentityError("the peer speaks an older version than TLS 1.3: upgrade its gRPC")
    return found.pop()


def _quote(name: str) -> str:
    return quote(name, safe="")
