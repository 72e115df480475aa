"""Reading the configuration file: every problem of it at once, each with what to do.

The environment comes before the file: `PRISM_WRAPPER__<SECTION>__<KEY>`, such as
`PRISM_WRAPPER__DATABASE__DSN`. Its values are TOML where they are no text: `8080`, `["a", "b"]`.
"""

from __future__ import annotations

import difflib
import os
import re
import string
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, get_args

from prism.wrapper._config.secrets import Secret
from prism.wrapper._config.settings import (
    ChorusSettings,
    DatabaseSettings,
    EmbedderName,
    Flavor,
    LogSettings,
    Plugin,
    PushSettings,
    TableSettings,
    VectorSettings,
    Wire,
    WrapperConfig,
    WriteSettings,
)
from prism.wrapper.errors import WrapperConfigurationError

__all__ = ["load_config", "parse_config"]

_PREFIX = "PRISM_WRAPPER__"
_SECTIONS = ("database", "chorus", "tables", "vectors", "log", "write", "push")
_SMALLEST = "It needs [database] with flavor and dsn, and [chorus] with tenant_id."
_T = TypeVar("_T")


def load_config(
    path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None
) -> WrapperConfig:
    """Read a file.

    Raises:
        WrapperConfigurationError: One line for each problem, each with its remedy.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WrapperConfigurationError(f"{name}: there is no such file. {_SMALLEST}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WrapperConfigurationError(f"{name}: cannot be read: {reason}") from None
    return parse_config(text, name=name, environment=environment)


def parse_config(
    text: str, *, name: str = "configuration", environment: Mapping[str, str] | None = None
) -> WrapperConfig:
    """Read the text of a file; relative paths in it are of the working folder.

    Raises:
        WrapperConfigurationError: One line for each problem, each with its remedy.
    """
    environment = os.environ if environment is None else environment
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message quotes no more than a character, so it can hold no secret.
        raise WrapperConfigurationError(f"{name}: is not TOML: {error}") from None
    problems = [
        f"unknown section [{key}]{_nearest(key, _SECTIONS)}" for key in tree if key not in _SECTIONS
    ]
    _overlay(tree, environment, problems)
    config = _config(tree, environment, problems)
    if problems or config is None:
        raise WrapperConfigurationError("\n".join(f"{name}: {problem}" for problem in problems))
    return config


def _overlay(tree: dict[str, object], environment: Mapping[str, str], problems: list[str]) -> None:
    for variable in sorted(environment):
        if not variable.startswith(_PREFIX):
            continue
        section, _, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if section not in _SECTIONS or section == "tables" or not key:
            problems.append(f"the environment variable {variable} names no section and key")
            continue
        content = tree.setdefault(section, {})
        if isinstance(content, dict):
            content[key] = _from_environment(environment[variable])


def _from_environment(text: str) -> object:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (int, float, bool, list)) else text


def _config(
    tree: Mapping[str, object], environment: Mapping[str, str], problems: list[str]
) -> WrapperConfig | None:
    database = _Section(tree, "database", problems)
    chorus = _Section(tree, "chorus", problems)
    vectors = _Section(tree, "vectors", problems)
    log = _Section(tree, "log", problems)
    write = _Section(tree, "write", problems)
    push = _Section(tree, "push", problems)
    flavor = database.choice("flavor", get_args(Flavor), required=True)
    dsn = _dsn(database, environment)
    built: dict[str, dict[str, object]] = {
        "database": {
            "schemas": database.names("schemas"),
            "slot": database.text("slot"),
            "publication": database.text("publication"),
            "plugin": database.choice("plugin", get_args(Plugin)),
        },
        "chorus": {
            "listen_host": chorus.text("listen_host"),
            "listen_port": chorus.whole("listen_port", 0, 65535),
            "node_id": chorus.text("node_id"),
            "secret_file": chorus.path("secret_file"),
            "certificate": chorus.path("certificate"),
            "key": chorus.path("key"),
            "authority": chorus.path("authority"),
            "heartbeat_s": chorus.number("heartbeat_s", 0.05, 60),
            "drivers": chorus.names("drivers"),
        },
        "vectors": {
            "embedder": vectors.choice("embedder", get_args(EmbedderName)),
            "model": vectors.text("model"),
            "wire": vectors.choice("wire", get_args(Wire)),
            "batch": vectors.whole("batch", 1, 4096),
            "text_chars": vectors.whole("text_chars", 16, 1_000_000),
        },
        "log": {
            "path": log.path("path"),
            "kept_deletions": log.whole("kept_deletions", 1, 100_000_000),
        },
        "write": {
            "tables": write.names("tables"),
            "timeout_s": write.number("timeout_s", 0.1, 600),
        },
        "push": {
            "listen_host": push.text("listen_host"),
            "listen_port": push.whole("listen_port", 0, 65535),
            "grpc_port": push.whole("grpc_port", 0, 65535),
            "token_file": push.path("token_file"),
            "token_env": push.text("token_env"),
            "partitions": push.whole("partitions", 1, 1024),
            "time_zone": push.text("time_zone"),
            "spool": push.path("spool"),
            "memory_bytes": push.whole("memory_bytes", 1 << 16, 1 << 40),
            "window_bytes": push.whole("window_bytes", 1 << 16, 1 << 40),
            "batch_bytes": push.whole("batch_bytes", 1 << 10, 1 << 30),
        },
    }
    tenant_id = chorus.text("tenant_id", required=True)
    if tenant_id == "":
        chorus.problem("tenant_id must not be empty; drivers name the same one")
    tls = [name for name in ("certificate", "key", "authority") if built["chorus"][name]]
    if tls and len(tls) < 3:
        chorus.problem(f"{', '.join(tls)} alone is no TLS: give certificate, key and authority")
    for driver in chorus.names("drivers") or ():
        if not re.fullmatch(r".+:[0-9]{1,5}", driver):
            chorus.problem(f"drivers: {driver!r} must be host:port")
    embedder = built["vectors"]["embedder"]
    if vectors.value("model") and embedder in (None, "static", "minilm"):
        vectors.problem('model belongs to embedder = "openai", "voyage" or "ollama"; leave it out')
    elif embedder in ("openai", "voyage", "ollama") and not vectors.value("model"):
        vectors.problem(f'embedder = "{embedder}" needs model = "..."; see the provider\'s list')
    if "push" in tree and flavor not in (None, "tidb"):
        push.problem('belongs to flavor = "tidb", to which changes are pushed; leave it out')
    for section in (database, chorus, vectors, log, write, push):
        section.finish()
    tables = _tables(tree.get("tables", []), problems)
    if problems or dsn is None or tenant_id is None or flavor is None:
        return None
    return WrapperConfig(
        database=_made(DatabaseSettings, built["database"], flavor=flavor, dsn=dsn),
        chorus=_made(ChorusSettings, built["chorus"], tenant_id=tenant_id),
        tables=tables,
        vectors=_made(VectorSettings, built["vectors"]),
        log=_made(LogSettings, built["log"]),
        write=_made(WriteSettings, built["write"]),
        push=_made(PushSettings, built["push"]),
    )


def _made(kind: Callable[..., _T], given: Mapping[str, object], **others: object) -> _T:
    return kind(**{name: value for name, value in given.items() if value is not None}, **others)


def _dsn(database: _Section, environment: Mapping[str, str]) -> Secret | None:
    ways = [way for way in ("dsn", "dsn_env", "dsn_file") if database.value(way) is not None]
    dsn = database.text("dsn")
    variable = database.text("dsn_env")
    file = database.path("dsn_file")
    if len(ways) != 1:
        given = " and ".join(ways) if ways else "none"
        database.problem(
            f"needs one of dsn, dsn_env (name of an environment variable) and dsn_file, not {given}"
        )
        return None
    if variable is not None:
        dsn = environment.get(variable)
        if not dsn:
            database.problem(f"dsn_env: the environment variable {variable} is not set")
            return None
    elif file is not None:
        try:
            dsn = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            database.problem(f"dsn_file: {file} cannot be read: {reason}")
            return None
    if dsn is None:
        return None
    if not dsn.strip():
        database.problem("the DSN is empty; give one such as postgresql://user@host/database")
        return None
    return Secret(dsn)


def _tables(given: object, problems: list[str]) -> tuple[TableSettings, ...]:
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        problems.append("[tables] must be written [[tables]], once for each table")
        return ()
    tables: list[TableSettings] = []
    for number, item in enumerate(given, 1):
        label = f"[[tables]] {item.get('name', f'number {number}')}"
        section = _Section({"tables": item}, "tables", problems, label=label)
        name = section.text("name", required=True)
        values = {
            "columns": section.names("columns"),
            "text": section.text("text"),
            "text_columns": section.names("text_columns"),
            "embed": section.flag("embed"),
            "numeric": section.ranges("numeric"),
        }
        if values["text"] and values["text_columns"]:
            section.problem("text and text_columns exclude each other; keep one of them")
        if isinstance(values["text"], str):
            _check_template(values["text"], section)
        section.finish()
        if name is None:
            continue
        if any(other.name == name for other in tables):
            section.problem("stands twice; keep one of them")
        tables.append(_made(TableSettings, values, name=name))
    return tuple(tables)


def _check_template(template: str, section: _Section) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        section.problem(f"text: {error}; write {{{{ and }}}} for braces")
        return
    for _, name, form, conversion in parts:
        if name is not None and (not name or form or conversion or not set(name).isdisjoint("[].")):
            section.problem("text: write {column} with a column's name and nothing else in braces")


class _Section:
    """A table of the file; remembers which keys were asked for, and notes what is wrong."""

    def __init__(
        self, tree: Mapping[str, object], name: str, problems: list[str], *, label: str = ""
    ) -> None:
        content = tree.get(name, {})
        self._label = label or f"[{name}]"
        self._problems = problems
        self._known: list[str] = []
        if not isinstance(content, dict):
            self.problem(f"must be a section: write {self._label} on a line of its own")
            content = {}
        self._content = content

    def problem(self, text: str) -> None:
        self._problems.append(f"{self._label} {text}")

    def value(self, key: str) -> object:
        return self._content.get(key)

    def _take(
        self, key: str, kind: type | tuple[type, ...], what: str, *, required: bool
    ) -> object:
        self._known.append(key)
        value = self._content.get(key)
        if value is None:
            if required:
                self.problem(f"needs {key}")
            return None
        # In Python a bool is an int; in a configuration it is a mistake.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            # Not the value itself: it may be a secret in the wrong place.
            self.problem(f"{key} must be {what}, not {_described(value)}")
            return None
        return value

    def text(self, key: str, *, required: bool = False) -> str | None:
        value = self._take(key, str, "a text in quotes", required=required)
        return value if isinstance(value, str) else None

    def path(self, key: str) -> Path | None:
        value = self.text(key)
        if value is None:
            return None
        if not value or "\0" in value:
            self.problem(f"{key} must name a file")
            return None
        return Path(value).expanduser()

    def choice(self, key: str, choices: tuple[str, ...], *, required: bool = False) -> str | None:
        value = self.text(key, required=required)
        if value is None or value in choices:
            return value
        self.problem(f"{key} must be one of {', '.join(choices)}{_nearest(value, choices)}")
        return None

    def whole(self, key: str, least: int, most: int) -> int | None:
        value = self._take(key, int, "a whole number", required=False)
        if isinstance(value, int) and not least <= value <= most:
            self.problem(f"{key} must be from {least} to {most}, not {value}")
            return None
        return value if isinstance(value, int) else None

    def number(self, key: str, least: float, most: float) -> float | None:
        value = self._take(key, (int, float), "a number", required=False)
        if isinstance(value, (int, float)):
            if least <= value <= most:
                return float(value)
            self.problem(f"{key} must be from {least:g} to {most:g}, not {value}")
        return None

    def flag(self, key: str) -> bool | None:
        value = self._take(key, bool, "true or false", required=False)
        return value if isinstance(value, bool) else None

    def names(self, key: str) -> tuple[str, ...] | None:
        value = self._take(key, list, 'a list such as ["a", "b"]', required=False)
        if not isinstance(value, list):
            return None
        if not all(isinstance(item, str) and item for item in value):
            self.problem(f'{key} must be a list of texts such as ["a", "b"]')
            return None
        return tuple(value)

    def ranges(self, key: str) -> Mapping[str, tuple[float, float]] | None:
        value = self._take(key, dict, "ranges such as { price = [0, 100] }", required=False)
        if not isinstance(value, dict):
            return None
        ranges: dict[str, tuple[float, float]] = {}
        for column, bounds in value.items():
            match bounds:
                case [int() | float() as low, int() | float() as high] if low < high:
                    ranges[column] = (float(low), float(high))
                case _:
                    self.problem(
                        f"{key}: {column} needs its lowest and its highest value, such as [0, 100]"
                    )
        return ranges

    def finish(self) -> None:
        """Note the keys that nobody asked for."""
        for key in self._content:
            if key not in self._known:
                self.problem(f"has no key {key}{_nearest(key, self._known)}")


def _described(value: object) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "a list" if isinstance(value, list) else "a section")


def _nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; known are {', '.join(known)}"
