"""Check or set the one version that all distributions share.

    python tools/versions.py check
    python tools/versions.py show
    python tools/versions.py set 1.2.0

`check` exits with 1 and one line for each place that disagrees: the version of each member, the
exact pins between members, and the newest heading of the changelog. `set` writes all of them and
then removes the hatch environments, whose metadata would still tell the old number.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc|\.dev)\d+)?")
_PIN = re.compile(r"(?P<name>[a-z-]+)(?P<extras>\[[a-z,-]+\])?==(?P<version>[^\"]+)")


def members() -> dict[str, Path]:
    """The `pyproject.toml` of each distribution, by its name."""
    files = sorted(ROOT.glob("packages/*/pyproject.toml"))
    return {tomllib.loads(file.read_text())["project"]["name"]: file for file in files}


def problems() -> list[str]:
    """Describe every place that does not tell the common version."""
    files = members()
    found: list[str] = []
    versions = {
        name: tomllib.loads(file.read_text())["project"]["version"] for name, file in files.items()
    }
    version = next(iter(versions.values()))
    found += [
        f"{name} is {other}, not {version}" for name, other in versions.items() if other != version
    ]
    for name, file in files.items():
        project = tomllib.loads(file.read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        for requirement in [*project.get("dependencies", []), *(r for e in extras for r in e)]:
            sibling = re.split(r"[\[=<>~! ]", requirement, maxsplit=1)[0]
            if sibling not in files or sibling == name:
                continue
            pin = _PIN.fullmatch(requirement)
            if pin is None or pin["version"] != version:
                found.append(f"{name} requires {requirement!r}, not =={version}")
    heading = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if heading is None or heading[1] not in (version, "Unreleased"):
        found.append(f"CHANGELOG.md begins with {heading and heading[1]}, not {version}")
    return found


def set_version(version: str) -> None:
    """Write `version` into every member and every pin."""
    files = members()
    for file in files.values():
        text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', file.read_text(), count=1)
        file.write_text(
            _PIN.sub(
                lambda pin: (
                    f"{pin['name']}{pin['extras'] or ''}=={version}"
                    if pin["name"] in files
                    else pin[0]
                ),
                text,
            )
        )
    changelog = ROOT / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## [Unreleased]", f"## [{version}]", 1))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="tell every place that disagrees; exit 1 if there is one")
    commands.add_parser("show", help="print the version")
    setter = commands.add_parser("set", help="write one version everywhere")
    setter.add_argument("version", help="such as 1.2.0 or 1.2.0.dev1")
    arguments = parser.parse_args()
    if arguments.command == "set":
        if not _VERSION.fullmatch(arguments.version):
            parser.error(f"{arguments.version!r} is not a version such as 1.2.0 or 1.2.0.dev1")
        set_version(arguments.version)
        subprocess.run(["hatch", "env", "prune"], cwd=ROOT, check=True)
    if arguments.command == "show":
        print(next(tomllib.loads(f.read_text())["project"]["version"] for f in members().values()))
        return 0
    for problem in problems():
        print(problem, file=sys.stderr)
    return 1 if problems() else 0


if __name__ == "__main__":
    sys.exit(main())
