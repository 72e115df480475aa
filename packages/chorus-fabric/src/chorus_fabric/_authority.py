"""Certificates: one's own authority, and short-lived ones for nodes. Values in, values out."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chorus_fabric._identity import Identity
from chorus_fabric.errors import CertificateError, FabricConfigurationError

__all__ = ["CertificateFacts", "KeyPair", "facts_of", "issue", "new_authority"]

# Clocks of two machines differ.
_SKEW: Final = dt.timedelta(minutes=5)
# No colon or slash: a URI among the DNS names could be taken for an identity.
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_LONGEST: Final = dt.timedelta(days=90)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, both as PEM.

    Attributes:
        certificate: For anyone to see.
        key: Secret.
    """

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "KeyPair(certificate=..., key=***)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says.

    Attributes:
        identity: Whose it is; `None` for an authority, or when it names none or several of ours.
        hosts: DNS names and addresses in it, beside those that stand for tenant and node.
        is_authority: Whether it may issue others.
        serial: Its serial number, hexadecimal.
        not_before: When it begins to hold.
        not_after: When it ends.
        issuer: Who issued it.
        fingerprint: SHA-256 of it, hexadecimal.
    """

    identity: Identity | None
    hosts: tuple[str, ...]
    is_authority: bool
    serial: str
    not_before: dt.datetime
    not_after: dt.datetime
    issuer: str
    fingerprint: str


def new_authority(*, name: str, now: dt.datetime, lifetime: dt.timedelta) -> KeyPair:
    """Make an authority: a certificate that signs itself.

    Args:
        name: What people see it is called.
        now: The present, with its zone.
        lifetime: How long it holds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = key.public_key()
    certificate = (
        _builder(subject, subject, public, now, lifetime)
        # It signs nodes' certificates and no other authorities.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue(
    authority: KeyPair, identity: Identity, *, now: dt.datetime, lifetime: dt.timedelta,
    hosts: Sequence[str] = (),
) -> KeyPair:  # fmt: skip
    """Issue a node's certificate, for both ends of a connection, with a new key.

    Args:
        authority: Who issues it.
        identity: Whose it is.
        now: The present, with its zone.
        lifetime: How long it holds. There is no revocation: keep it short.
        hosts: DNS names and addresses, for clients that compare those.

    Raises:
        CertificateError: The authority's files cannot be read, are no authority or do not match.
        FabricConfigurationError: `lifetime` or a host is not acceptable.
    """
    if not dt.timedelta(0) < lifetime <= _LONGEST:
        raise FabricConfigurationError(
            f"a certificate holds for up to {_LONGEST.days} days, since none can be revoked; "
            f"got {lifetime}"
        )
    issuer, issuer_key = _authority_of(authority)
    if now + lifetime > issuer.not_valid_after_utc:
        raise CertificateError(
            f"the authority ends at {issuer.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, before the "
            "certificate would: make a new one with `chorus-fabric ca init`"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.node[:64])])
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(identity.uri),
        x509.DNSName(identity.host),
        x509.DNSName(identity.node_host),
        *map(_host_name, hosts),
    ]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def facts_of(certificate: bytes) -> CertificateFacts:
    """Read what a certificate says, of PEM.

    Raises:
        CertificateError: It is none.
    """
    parsed = load_certificate(certificate)
    identities: set[Identity] = set()
    hosts: list[str] = []
    is_authority = False
    for extension in parsed.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=ca):
                is_authority = ca
            case x509.SubjectAlternativeName() as names:
                uris = names.get_values_for_type(x509.UniformResourceIdentifier)
                identities |= {found for uri in uris if (found := Identity.from_uri(uri))}
                hosts += names.get_values_for_type(x509.DNSName)
                hosts += map(str, names.get_values_for_type(x509.IPAddress))
    identity = identities.pop() if len(identities) == 1 else None
    return CertificateFacts(
        identity=identity,
        hosts=tuple(
            host
            for host in hosts
            if identity is None or host not in (identity.host, identity.node_host)
        ),
        is_authority=is_authority,
        serial=f"{parsed.serial_number:x}",
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        issuer=parsed.issuer.rfc4514_string(),
        fingerprint=parsed.fingerprint(hashes.SHA256()).hex(),
    )


def load_certificate(pem: bytes) -> x509.Certificate:
    """Parse a certificate.

    Raises:
        CertificateError: It is none.
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateError("not a certificate in PEM") from None


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Parse a private key.

    Raises:
        CertificateError: It is none, has a passphrase, or is of another kind.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise CertificateError("not a private key in PEM without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("a private key of another kind than elliptic curve")
    return key


def matches(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether they belong to each other."""
    return certificate.public_key() == key.public_key()


def _authority_of(pair: KeyPair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate, key = load_certificate(pair.certificate), load_key(pair.key)
    if not matches(certificate, key):
        raise CertificateError("the authority's key does not belong to its certificate")
    if not facts_of(pair.certificate).is_authority:
        raise CertificateError("the certificate is a node's, not an authority's")
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime,
    lifetime: dt.timedelta,
) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host):
        raise FabricConfigurationError(f"{host!r} is neither an address nor a DNS name in ASCII")
    return x509.DNSName(host)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
