"""Who may talk to whom, over real connections of gRPC on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from certificates import DAY, Authority, now
from cryptography import x509

from chorus_fabric import (
    CertificateError,
    Identity,
    IdentityError,
    TLSConfig,
    TLSFiles,
    channel_credentials,
    channel_options,
    peer_identity,
    server_credentials,
    tenant_host,
)

METHOD = "/test.Echo/Echo"
TENANT = "acme"
OWN = TENANT.encode()
Server = Callable[[TLSConfig], str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "ours"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    folder = tmp_path / "theirs"
    folder.mkdir()
    return Authority(folder)


def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Answer those alone whose certificate is of the tenant that the request names."""
    identity = peer_identity(context.auth_context())
    try:
        identity.check(tenant_id=request.decode())
    except IdentityError as error:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
    return identity.uri.encode()


@pytest.fixture
def serve() -> Iterator[Server]:
    servers = []

    def start(config: TLSConfig) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Echo", handlers),)
        )
        port = server.add_secure_port("127.0.0.1:0", server_credentials(config))
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


@contextmanager
def connected(
    address: str, credentials: grpc.ChannelCredentials, tenant_id: str = TENANT
) -> Iterator[Callable[..., bytes]]:
    with grpc.secure_channel(address, credentials, channel_options(tenant_id)) as channel:
        call = channel.unary_unary(METHOD)
        yield lambda request=OWN: call(request, timeout=20)


def refusal(address: str, credentials: grpc.ChannelCredentials, **options: str) -> grpc.StatusCode:
    with connected(address, credentials, **options) as ask, pytest.raises(grpc.RpcError) as caught:
        ask()
    return caught.value.code()


@pytest.mark.parametrize("tenant_of_server", [TENANT, "*"])
def test_nodes_of_one_tenant_talk(
    authority: Authority, serve: Server, tenant_of_server: str
) -> None:
    address = serve(authority.node(tenant_of_server, "db-1"))
    with connected(address, channel_credentials(authority.node(TENANT, "app-1"))) as ask:
        assert ask() == b"spiffe://prism/acme/app-1"


def test_a_client_without_a_certificate_is_refused(authority: Authority, serve: Server) -> None:
    address = serve(authority.node(TENANT, "db-1"))
    root = grpc.ssl_channel_credentials(authority.pair.certificate)
    assert refusal(address, root) is grpc.StatusCode.UNAVAILABLE
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(METHOD)(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_foreign_certificate_is_refused(
    authority: Authority, stranger: Authority, serve: Server
) -> None:
    """One of another authority with the same names, though the client trusts the server."""
    address = serve(authority.node(TENANT, "db-1"))
    foreign = stranger.node(TENANT, "app-1")
    Path(foreign.authority).write_bytes(authority.pair.certificate)
    assert refusal(address, channel_credentials(foreign)) is grpc.StatusCode.UNAVAILABLE


def test_a_foreign_server_is_refused(
    authority: Authority, stranger: Authority, serve: Server
) -> None:
    theirs = stranger.node(TENANT, "db-1")
    Path(theirs.authority).write_bytes(authority.pair.certificate)
    ours = channel_credentials(authority.node(TENANT, "app-1"))
    assert refusal(serve(theirs), ours) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("days", [-2, 1], ids=["expired", "not yet valid"])
def test_a_certificate_out_of_its_time_is_refused(
    authority: Authority, serve: Server, who: str, days: int
) -> None:
    at = now() + days * DAY
    server = authority.node(TENANT, "db-1", at=at if who == "server" else None)
    client = authority.node(TENANT, "app-1", at=at if who == "client" else None)
    assert refusal(serve(server), channel_credentials(client)) is grpc.StatusCode.UNAVAILABLE


def test_the_right_certificate_with_the_wrong_tenant_is_refused(
    authority: Authority, serve: Server
) -> None:
    """Once by the server, which knows the claim; once by the client, whom TLS tells."""
    address = serve(authority.node("*", "db-1"))
    globex = channel_credentials(authority.node("globex", "app-9"))
    with connected(address, globex) as ask, pytest.raises(grpc.RpcError) as caught:
        ask(b"acme")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "globex" in str(caught.value.details())
    of_acme = serve(authority.node(TENANT, "db-2"))
    assert refusal(of_acme, globex, tenant_id="globex") is grpc.StatusCode.UNAVAILABLE


def serial(address: str, client: TLSConfig) -> int:
    """Shake hands once more, and read which certificate the server shows."""
    context = ssl.create_default_context(cafile=str(client.authority))
    context.load_cert_chain(str(client.certificate), str(client.key))
    context.set_alpn_protocols(["h2"])
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=tenant_host(TENANT)) as secure,
    ):
        assert secure.version() == "TLSv1.3"
        shown = secure.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


def test_new_files_are_used_from_the_next_handshake_on(authority: Authority, serve: Server) -> None:
    server = authority.node(TENANT, "db-1", folder="db-1")
    client = authority.node(TENANT, "app-1")
    address = serve(server)
    with connected(address, channel_credentials(client)) as ask:
        assert ask()
        before = serial(address, client)
        assert serial(address, client) == before
        authority.node(TENANT, "db-1", folder="db-1")
        after = serial(address, client)
        assert after != before
        # The connection from before goes on, and others can be made.
        assert ask()
    with connected(address, channel_credentials(client)) as ask:
        assert ask()


def test_half_of_a_renewal_is_not_used(
    authority: Authority, serve: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server = authority.node(TENANT, "db-1", folder="db-1")
    client = authority.node(TENANT, "app-1")
    address = serve(server)
    before = serial(address, client)
    certificate = Path(server.certificate).read_bytes()
    authority.node(TENANT, "db-1", folder="db-1")
    renewed = Path(server.certificate).read_bytes()
    Path(server.certificate).write_bytes(certificate)
    assert serial(address, client) == before
    assert "does not belong to" in caplog.text
    Path(server.certificate).write_bytes(renewed)
    assert serial(address, client) != before


def test_a_new_authority_can_be_trusted_beside_the_old(
    authority: Authority, stranger: Authority, serve: Server
) -> None:
    server = authority.node(TENANT, "db-1", folder="db-1")
    address = serve(server)
    newer = stranger.node(TENANT, "app-1")
    Path(newer.authority).write_bytes(authority.pair.certificate)
    assert refusal(address, channel_credentials(newer)) is grpc.StatusCode.UNAVAILABLE
    both = authority.pair.certificate + stranger.pair.certificate
    Path(server.authority).write_bytes(both)
    with connected(address, channel_credentials(newer)) as ask:
        assert ask()


def test_a_client_learns_that_its_files_changed(authority: Authority) -> None:
    config = authority.node(TENANT, "app-1", folder="app-1")
    files = TLSFiles(config)
    assert not files.changed()
    authority.node(TENANT, "app-1", folder="app-1")
    assert files.changed()
    assert not files.changed()
    Path(config.key).unlink()
    assert not files.changed()
    # The same bytes again are nothing new.
    key, certificate, _ = files.content
    Path(config.key).write_bytes(key)
    Path(config.certificate).write_bytes(certificate)
    assert not files.changed()


@pytest.mark.parametrize("name", ["node.key", "node.pem", "ca.pem"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM at all"])
def test_files_that_cannot_be_used_are_named(
    authority: Authority, name: str, content: bytes | None
) -> None:
    config = authority.node(TENANT, "app-1", folder="app-1")
    file = authority.folder / "app-1" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    for use in (server_credentials, channel_credentials, TLSFiles):
        with pytest.raises(CertificateError, match=name):
            use(config)


def test_the_identity_of_ones_own_certificate(authority: Authority) -> None:
    assert authority.node(TENANT, "app-1").identity == Identity(TENANT, "app-1")
    config = authority.node(TENANT, "app-2")
    Path(config.certificate).write_bytes(authority.pair.certificate)
    with pytest.raises(CertificateError, match="names no node"):
        _ = config.identity
