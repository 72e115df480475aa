"""The command `chorus-fabric`: an authority of one's own, certificates, secrets."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from chorus_fabric._authority import CertificateFacts, KeyPair, facts_of, issue, new_authority
from chorus_fabric._identity import Identity
from chorus_fabric._secret_files import new_secret, read_file, write_file
from chorus_fabric.errors import CertificateError, ChorusError, FabricConfigurationError

__all__ = ["main"]

_DESCRIPTION = """\
Certificates and secrets for nodes that talk to each other over mutual TLS.

  chorus-fabric ca init ca                                      once, on a machine you trust
  chorus-fabric issue --ca ca --tenant shop --node db-1 --out db-1
  chorus-fabric issue --ca ca --tenant shop --node app-1 --out app-1
  chorus-fabric show app-1/node.pem

Copy a node's folder (node.pem, node.key, ca.pem) to that node; ca.key stays where it is. A
certificate holds for 24 hours and none can be revoked: issue them anew by a timer. Running
servers take new files into use by themselves."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of this process if left out.

    Returns:
        0, or 2 if something has to be set right; one line on stderr says what.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        facts = options.run(options)
    except ChorusError as error:
        print(f"chorus-fabric: {error}", file=sys.stderr)  # noqa: T201  a command line
        return 2
    except OSError as error:
        print(f"chorus-fabric: {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 2
    if options.json:
        print(json.dumps(facts, indent=2))  # noqa: T201
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            print(f"{name.replace('_', ' '):<{width}}  {shown}")  # noqa: T201
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="chorus-fabric", description=_DESCRIPTION, formatter_class=raw
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    authority = commands.add_parser("ca", help="make the authority that all your nodes trust")
    actions = authority.add_subparsers(required=True, metavar="ACTION")
    init = actions.add_parser(
        "init",
        help="make ca.pem and ca.key",
        formatter_class=raw,
        description="Make an authority: DIR/ca.pem goes to every node, DIR/ca.key to none.\n"
        "Whoever has ca.key can be any node of any tenant.",
    )
    init.add_argument("folder", metavar="DIR", type=Path, help="made if it is not there")
    init.add_argument("--name", default="PrismLib nodes", help="what it is called (%(default)s)")
    init.add_argument("--days", type=_positive, default=365, help="how long it holds (%(default)s)")
    init.set_defaults(run=_init)

    node = commands.add_parser(
        "issue",
        help="issue a node's certificate",
        formatter_class=raw,
        description="Issue a certificate with a new key: OUT/node.pem, OUT/node.key and a copy of\n"
        "ca.pem. Files that are there are replaced, each as a whole.",
    )
    node.add_argument("--tenant", required=True, help="whose rows it may carry; * for all tenants")
    node.add_argument("--node", required=True, help="the node's name, such as db-1")
    node.add_argument(
        "--ca", type=Path, default=Path("ca"), metavar="DIR", help="the authority (%(default)s)"
    )
    node.add_argument("--out", type=Path, metavar="DIR", help="where to (the node's name)")
    node.add_argument("--hours", type=_positive, default=24, help="how long it holds (%(default)s)")
    node.add_argument(
        "--host",
        action="append",
        default=[],
        help="a DNS name or address to put in as well, for clients of other makes that compare "
        "it; may be given several times",
    )
    node.set_defaults(run=_issue)

    show = commands.add_parser("show", help="tell what a certificate says and how long it holds")
    show.add_argument("certificate", metavar="CERT", type=Path)
    show.set_defaults(run=_show)

    secret = commands.add_parser(
        "secret",
        help="make a tenant's secret",
        formatter_class=raw,
        description="Write 32 random bytes to FILE, which only you may read. All nodes of a\n"
        "tenant hold the same one; with it frames are sealed end to end.",
    )
    secret.add_argument("file", metavar="FILE", type=Path)
    secret.set_defaults(run=_secret)

    for command in (init, node, show, secret):
        command.add_argument("--json", action="store_true", help="tell the result as JSON")
    return parser


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _init(options: argparse.Namespace) -> dict[str, object]:
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ca.key", "ca.pem"):
        if (folder / name).exists():
            raise FabricConfigurationError(
                f"{folder / name} is there already. A new authority would make every certificate "
                "of the old one useless: choose another folder"
            )
    pair = new_authority(name=options.name, now=_now(), lifetime=dt.timedelta(days=options.days))
    write_file(folder / "ca.key", pair.key, is_secret=True)
    write_file(folder / "ca.pem", pair.certificate, is_secret=False)
    return {
        "certificate": str(folder / "ca.pem"),
        "key": str(folder / "ca.key"),
        **_told(facts_of(pair.certificate)),
    }


def _issue(options: argparse.Namespace) -> dict[str, object]:
    certificate, key = options.ca / "ca.pem", options.ca / "ca.key"
    if not key.exists():
        raise CertificateError(
            f"is not there: make an authority with `chorus-fabric ca init {options.ca}`",
            path=str(key),
        )
    if os.name == "posix" and key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CertificateError(f"others may read it: `chmod 600 {key}`", path=str(key))
    authority = KeyPair(read_file(certificate), read_file(key))
    pair = issue(
        authority,
        Identity(options.tenant, options.node),
        now=_now(),
        lifetime=dt.timedelta(hours=options.hours),
        hosts=options.host,
    )
    folder: Path = options.out or Path(options.node)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "ca.pem", authority.certificate, is_secret=False)
    write_file(folder / "node.key", pair.key, is_secret=True)
    write_file(folder / "node.pem", pair.certificate, is_secret=False)
    return {
        "certificate": str(folder / "node.pem"),
        "key": str(folder / "node.key"),
        "authority": str(folder / "ca.pem"),
        **_told(facts_of(pair.certificate)),
    }


def _show(options: argparse.Namespace) -> dict[str, object]:
    try:
        facts = facts_of(read_file(options.certificate))
    except CertificateError as error:
        if error.path:
            raise
        raise CertificateError(str(error), path=str(options.certificate)) from None
    return _told(facts)


def _secret(options: argparse.Namespace) -> dict[str, object]:
    file: Path = options.file
    if file.exists():
        raise FabricConfigurationError(f"{file} is there already; choose another name")
    write_file(file, new_secret() + b"\n", is_secret=True)
    return {"secret": str(file)}


def _told(facts: CertificateFacts) -> dict[str, object]:
    told: dict[str, object] = {}
    if facts.identity is not None:
        told["tenant"] = facts.identity.tenant_id
        told["node"] = facts.identity.node
        told["uri"] = facts.identity.uri
    else:
        told["use"] = "authority" if facts.is_authority else "names no node of ours"
    if facts.hosts:
        told["hosts"] = list(facts.hosts)
    left = facts.not_after - _now()
    told["valid_from"] = facts.not_before.isoformat()
    told["valid_until"] = facts.not_after.isoformat()
    told["valid_for"] = _spoken(left)
    told["issuer"] = facts.issuer
    told["serial"] = facts.serial
    told["sha256"] = facts.fingerprint
    return told


def _spoken(left: dt.timedelta) -> str:
    minutes = int(left.total_seconds() // 60)
    if minutes < 0:
        return "expired: issue it anew"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
