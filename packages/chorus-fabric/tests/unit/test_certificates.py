"""The command `chorus-fabric`, and what stands in certificates."""

from __future__ import annotations

import datetime as dt
import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from chorus_fabric import (
    CertificateError,
    FabricConfigurationError,
    Identity,
    IdentityError,
    Initiator,
    TLSConfig,
    UnsafeBindError,
    check_bind,
    peer_identity,
    read_secret,
    tenant_host,
)
from chorus_fabric._authority import issue, new_authority
from chorus_fabric._cli import main

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.fixture
def authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["ca", "init", str(tmp_path / "ca")]) == 0
    capsys.readouterr()
    return tmp_path / "ca"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert main([*map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def fail(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_node_is_issued(
    authority: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "db-1"
    options = ["--ca", authority, "--tenant", "acme", "--node", "db-1", "--out", out]
    told = run(capsys, "issue", *options, "--host", "db.example", "--host", "10.0.1.50")
    assert told["uri"] == "spiffe://prism/acme/db-1"
    assert told["hosts"] == ["db.example", "10.0.1.50"]
    assert (mode(out / "node.key"), mode(authority / "ca.key")) == (0o600, 0o600)
    assert (mode(out / "node.pem"), mode(out / "ca.pem")) == (0o644, 0o644)
    assert (out / "ca.pem").read_bytes() == (authority / "ca.pem").read_bytes()
    assert not (out / "ca.key").exists()
    assert TLSConfig.in_folder(out).identity == Identity("acme", "db-1")

    certificate = x509.load_pem_x509_certificate((out / "node.pem").read_bytes())
    issuer = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    certificate.verify_directly_issued_by(issuer)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    life = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=23) < life <= dt.timedelta(hours=24)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    shown = run(capsys, "show", out / "node.pem")
    assert shown["serial"] == told["serial"]
    assert str(shown["valid_for"]).startswith("23 h")


def test_issuing_again_replaces_key_and_certificate(
    authority: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--ca", authority, "--tenant", "*", "--node", "db-1", "--out", tmp_path / "n"]
    first = run(capsys, "issue", *options)
    key = (tmp_path / "n" / "node.key").read_bytes()
    second = run(capsys, "issue", *options)
    assert first["serial"] != second["serial"]
    assert key != (tmp_path / "n" / "node.key").read_bytes()
    assert sorted(file.name for file in (tmp_path / "n").iterdir()) == [
        "ca.pem", "node.key", "node.pem",
    ]  # fmt: skip


def test_mistakes_get_one_line_that_names_the_remedy(
    authority: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = ["--tenant", "acme", "--node", "db-1", "--out", tmp_path / "out"]
    assert "choose another folder" in fail(capsys, "ca", "init", authority)
    assert "chorus-fabric ca init" in fail(capsys, "issue", *node, "--ca", tmp_path / "none")
    ours = [*node, "--ca", authority]
    assert "90 days" in fail(capsys, "issue", *ours, "--hours", 24 * 91)
    assert "neither an address" in fail(capsys, "issue", *ours, "--host", "spiffe://prism/x/y")
    assert "tenant_id" in fail(capsys, "issue", *ours[2:], "--tenant", "")
    assert "cannot be read" in fail(capsys, "show", tmp_path / "none.pem")
    assert "not a certificate" in fail(capsys, "show", authority / "ca.key")
    (authority / "ca.key").chmod(0o644)
    assert "chmod 600" in fail(capsys, "issue", *ours)
    (authority / "ca.key").chmod(0o600)
    (authority / "ca.key").write_bytes(b"damaged")
    assert "private key" in fail(capsys, "issue", *ours)
    (tmp_path / "file").touch()
    assert "file" in fail(capsys, "ca", "init", tmp_path / "file" / "below")


def test_an_authority_that_ends_sooner_is_not_outlived() -> None:
    now = dt.datetime.now(dt.UTC)
    authority = new_authority(name="short", now=now, lifetime=dt.timedelta(hours=2))
    with pytest.raises(CertificateError, match="ends at"):
        issue(authority, Identity("a", "b"), now=now, lifetime=dt.timedelta(hours=3))


def test_a_node_issues_nothing() -> None:
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    authority = new_authority(name="ours", now=now, lifetime=9 * day)
    node = issue(authority, Identity("a", "b"), now=now, lifetime=day)
    with pytest.raises(CertificateError, match="not an authority"):
        issue(node, Identity("a", "c"), now=now, lifetime=day / 2)
    assert "PRIVATE" not in repr(authority)


def test_help_teaches() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "chorus_fabric", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "ca init ca" in told
    assert "24 hours" in told
    for command in ("ca init", "issue", "show", "secret"):
        arguments = [sys.executable, "-m", "chorus_fabric", *command.split(), "--help"]
        help_text = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        assert "--json" in help_text


def test_a_secret_is_made_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "secret"
    run(capsys, "secret", file)
    assert mode(file) == 0o600
    secret = read_secret(file)
    assert len(secret) >= 32
    Initiator(tenant_id="acme", sender="app-1", secret=secret)
    assert "already" in fail(capsys, "secret", file)
    file.chmod(0o640)
    with pytest.raises(FabricConfigurationError, match="chmod 600"):
        read_secret(file)
    file.chmod(0o600)
    file.write_bytes(b" \n")
    with pytest.raises(FabricConfigurationError, match="empty"):
        read_secret(file)
    with pytest.raises(FabricConfigurationError, match="cannot be read"):
        read_secret(tmp_path / "none")


# Identities


@given(NAME, NAME)
def test_an_identity_survives_its_uri(tenant_id: str, node: str) -> None:
    identity = Identity(tenant_id, node)
    assert Identity.from_uri(identity.uri) == identity
    assert re.fullmatch(r"spiffe://prism/[\w.~%*-]+/[\w.~%-]+", identity.uri, re.ASCII)


@given(NAME, NAME)
def test_another_tenant_has_another_host_and_is_not_served(one: str, other: str) -> None:
    assert (tenant_host(one) == tenant_host(other)) == (one == other)
    assert Identity(one, "n").serves(other) == (one in (other, "*"))
    assert Identity("*", "n").serves(other)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://prism/acme",
        "spiffe://prism//db-1",
        "spiffe://prism/acme/",
        "spiffe://prism/acme/db-1/more",
        "spiffe://other/acme/db-1",
        "https://prism/acme/db-1",
        "spiffe://prism/%61cme/db-1",
        "spiffe://prism/a%2fb/db-1",
        "spiffe://prism/%ff/db-1",
        "spiffe://prism/acme/db 1",
        "spiffe://prism/%2A/db-1x" + "x" * 300,
    ],
)
def test_what_is_no_identity_of_ours(uri: str) -> None:
    assert Identity.from_uri(uri) is None


def test_a_tenant_named_star_is_not_every_tenant() -> None:
    """`*` in a certificate is a node's right to serve all; a tenant of that name cannot be had."""
    assert Identity.from_uri("spiffe://prism/%2A/db-1") is None


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "names 0 nodes"),
        ({"peer_uri": [b"https://example.com"]}, "names 0 nodes"),
        ({"peer_uri": [b"spiffe://prism/a/n", b"spiffe://prism/b/n"]}, "names 2 nodes"),
        ({"peer_uri": [b"\xff"]}, "names 0 nodes"),
        ({"peer_uri": [b"spiffe://prism/a/n"], "ssl_tls_version": [b"TLSv1.2"]}, "TLS 1.3"),
        # DNS names and the common name are no proof of who somebody is.
        ({"x509_common_name": [b"spiffe://prism/a/n"]}, "names 0 nodes"),
    ],
)
def test_a_peer_without_one_identity_is_refused(
    context: dict[str, list[bytes]], message: str
) -> None:
    with pytest.raises(IdentityError, match=message):
        peer_identity(context)


def test_a_peer_is_who_its_certificate_says() -> None:
    context = {"peer_uri": [b"spiffe://prism/acme/db-1"], "ssl_tls_version": [b"TLSv1.3"]}
    identity = peer_identity(context)
    identity.check(tenant_id="acme", node="db-1")
    with pytest.raises(IdentityError, match="globex"):
        identity.check(tenant_id="globex")
    with pytest.raises(IdentityError, match="calls itself"):
        identity.check(tenant_id="acme", node="db-2")


# Where a server may listen


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost", "unix:/run/x.sock"]
)
def test_loopback_needs_no_protection(host: str) -> None:
    check_bind(host, None, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "", "10.0.1.50", "db.example"])  # noqa: S104
def test_others_need_certificates_or_a_secret(host: str) -> None:
    with pytest.raises(UnsafeBindError, match="chorus-fabric ca init"):
        check_bind(host, None, None)
    check_bind(host, TLSConfig.in_folder("node"), None)
    check_bind(host, None, "held by all nodes of a tenant")
