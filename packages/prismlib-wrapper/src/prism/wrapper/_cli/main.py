"""Arguments and exit codes of `prism-wrapper`.

0 is done, 1 is a finding or a failure, 2 is something to fix in the configuration, the database's
rights or the call: one clear line for each problem, and no traceback.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

from prism.wrapper._cli.logs import configure_logs
from prism.wrapper._config import WrapperConfig, load_config
from prism.wrapper.errors import (
    ChangeLogBusyError,
    ChangeLogFileError,
    WrapperConfigurationError,
    WrapperError,
)
from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    TableRefusedError,
)

__all__ = ["main"]

_FAILED, _TO_FIX = 1, 2
# How long a thread that computes may keep the others waiting. Those of the log and of the network
# are mostly outside the interpreter and come back often; at Python's 5 ms they would stand still.
_SWITCH_S = 0.0005
# Objects until the collector looks for cycles. Rows on their way have none: at Python's 700 it goes
# through them again and again, for a quarter of the composer's time.
_COLLECT_AFTER = 50_000
_DEFAULT = "/etc/prism/wrapper.toml"
_FIXABLE = (
    WrapperConfigurationError,
    SourceConfigurationError,
    SourceAccessError,
    TableRefusedError,
    ChangeLogFileError,
    ChangeLogBusyError,
)

_DESCRIPTION = """\
Read the changes of a database, make each row a vector, and stream both to every app that
connects with a PrismDriver. Without a command it runs until it is stopped.
"""
_EPILOG = """\
a configuration that is enough:

  [database]
  flavor = "postgresql"
  dsn_env = "DATABASE_URL"        # or dsn = "postgresql://user@host/database"

  [chorus]
  tenant_id = "products-service"  # drivers name the same
  listen_port = 50051

first steps:

  prism-wrapper check --config wrapper.toml    what is missing, as SQL for the database's owner
  prism-wrapper --config wrapper.toml          run; SIGTERM drains and stops
  prism-wrapper status --config wrapper.toml   how it is
  prism-wrapper demo                           all of it with a database of its own

exit codes: 0 done, 1 a finding or a failure, 2 something to fix in the configuration or the call
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        return command(given)
    except _FIXABLE as error:
        print(f"prism-wrapper: {error}", file=sys.stderr)  # noqa: T201 - a command speaks
        return _TO_FIX
    except WrapperError as error:
        print(f"prism-wrapper: {error}", file=sys.stderr)  # noqa: T201
        return _FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prism-wrapper",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_config(parser, default=None)
    parser.add_argument("--verbose", action="store_true", help="tell more in the log")
    parser.set_defaults(command=_run)
    commands = parser.add_subparsers(title="commands", metavar="")

    check = commands.add_parser(
        "check",
        help="look at configuration and database, change nothing",
        description="Look at the configuration and, read-only, at the database. Prints a table of "
        "findings, and what is missing as SQL to hand to the database's owner. Exit code 1 if "
        "something is missing.",
    )
    _add_config(check)
    check.add_argument("--json", action="store_true", help="print findings as JSON")
    check.set_defaults(command=_check)

    status = commands.add_parser(
        "status",
        help="ask the running wrapper how it is",
        description="Tell how the running wrapper is: its source, its log, its rows that have no "
        "vector. Exit code 1 if none runs.",
    )
    _add_config(status)
    status.add_argument("--json", action="store_true", help="print all of it as JSON")
    status.set_defaults(command=_status)

    slots = commands.add_parser(
        "slots",
        help="list or drop replication slots",
        description="List the database's logical replication slots. A slot that nobody reads makes "
        "the database keep its log until its disk is full: drop those of wrappers that are gone.",
    )
    _add_config(slots)
    slots.add_argument("--json", action="store_true", help="print the list as JSON")
    slots.add_argument("--drop", metavar="SLOT", help="drop this slot; asks first")
    slots.add_argument("--yes", action="store_true", help="do not ask")
    slots.set_defaults(command=_slots)

    demo = commands.add_parser(
        "demo",
        help="run with a PostgreSQL and a product table of its own",
        description="Start a PostgreSQL in a temporary folder with a product table that changes, "
        "and a wrapper on it; tells how to connect a driver. Ctrl-C ends all of it.",
    )
    demo.add_argument("--port", type=int, default=50051, help="where drivers connect (50051)")
    demo.add_argument("--rows", type=int, default=2000, help="products at the start (2000)")
    demo.add_argument("--seconds", type=float, default=0, help="end by itself after so long")
    demo.set_defaults(command=_demo)
    _add_forward(commands)
    return parser


def _add_forward(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    forward = commands.add_parser(
        "tidb-forward",
        help="push what TiCDC's storage sink writes to a wrapper of a TiDB",
        description="TiCDC pushes to no HTTP endpoint by itself. Give its changefeed a storage "
        "sink (file:///mnt/cdc?protocol=canal-json&enable-tidb-extension=true) and run this. "
        "What was not acknowledged is pushed again, also after a crash.",
    )
    forward.add_argument("folder", type=Path, help="the folder of the sink-uri")
    forward.add_argument(
        "--url",
        default="http://127.0.0.1:50061",
        help="the wrapper's endpoint (%(default)s); beyond this machine https",
    )
    forward.add_argument(
        "--token-file", type=Path, required=True, help="file with the token of [push]"
    )
    forward.add_argument(
        "--state", type=Path, help="file that remembers what was pushed (FOLDER.forwarded)"
    )
    forward.add_argument(
        "--authority", type=Path, help="certificate of the authority that signed the wrapper's"
    )
    forward.add_argument(
        "--every", type=float, default=1.0, metavar="SECONDS", help="how often to look (1)"
    )
    forward.add_argument("--once", action="store_true", help="push what is there now, and end")
    forward.set_defaults(command=_forward)


def _add_config(
    parser: argparse.ArgumentParser, *, default: str | None = argparse.SUPPRESS
) -> None:
    # Suppressed in the commands, so that `prism-wrapper --config F check` works as well.
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=default,
        help=f"the configuration, TOML ({_DEFAULT})",
    )


def _config(given: argparse.Namespace) -> WrapperConfig:
    return load_config(given.config or _DEFAULT)


def _run(given: argparse.Namespace) -> int:
    from prism.wrapper._daemon import Daemon

    config = _config(given)
    is_terminal = sys.stderr.isatty()
    configure_logs(verbose=given.verbose, secret=config.database.dsn)
    # The other core has other work here than texts that would be cut into tokens together.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    daemon = Daemon(config, show_progress=is_terminal)

    def stop(_number: int, _frame: types.FrameType | None) -> None:
        daemon.stop()
        # A second signal ends at once, as people expect.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: daemon.reload())
    daemon.run()
    logging.getLogger("prism.wrapper").info("stopped")
    return 0


def _check(given: argparse.Namespace) -> int:
    from prism.wrapper._cli.check import run_check

    return run_check(_config(given), as_json=given.json)


def _status(given: argparse.Namespace) -> int:
    from prism.wrapper._cli.status import run_status

    return run_status(_config(given), as_json=given.json)


def _slots(given: argparse.Namespace) -> int:
    from prism.wrapper._cli.slots import run_slots

    return run_slots(_config(given), drop=given.drop, ask=not given.yes, as_json=given.json)


def _forward(given: argparse.Namespace) -> int:
    from prism.wrapper._cli.tidb_forward import run_forward

    configure_logs(verbose=given.verbose, secret=None)
    return run_forward(
        folder=given.folder,
        url=given.url,
        token_file=given.token_file,
        state=given.state,
        authority=given.authority,
        every_s=given.every,
        once=given.once,
    )


def _demo(given: argparse.Namespace) -> int:
    from prism.wrapper._cli.demo import run_demo

    configure_logs(verbose=given.verbose, secret=None)
    return run_demo(port=given.port, rows=given.rows, seconds=given.seconds)
