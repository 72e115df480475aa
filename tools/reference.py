"""Write or check `docs/reference/`: the public names with their signatures and docstrings.

    python tools/reference.py write
    python tools/reference.py check

`check` exits with 1 and names each page that is not what the code says.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "docs" / "reference"
MODULES = (
    "chorus_fabric",
    "chorus_fabric.errors",
    "chorus_fabric.mesh",
    "chorus_fabric.mesh.conformance",
    "chorus_fabric.mesh.nats",
    "prismresonance",
    "prismresonance.embed",
    "prismresonance.errors",
    "prism.cache",
    "prism.cache.errors",
    "prism.cache.store",
    "prism.cache.store.conformance",
    "prism.cluster",
    "prism.cluster.cache",
    "prism.cluster.compress",
    "prism.cluster.errors",
    "prism.cluster.node",
    "prism.ffi",
    "prism.ffi.errors",
    "prism.wrapper.sources",
    "prism.wrapper.sources.cockroach",
    "prism.wrapper.sources.conformance",
    "prism.wrapper.sources.errors",
    "prism.wrapper.sources.mysql",
    "prism.wrapper.sources.postgres",
    "prism.wrapper.sources.tidb",
    "prism.wrapper",
    "prism.wrapper.errors",
)


_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_QUOTED = re.compile(r"(: )(['\"])(.*)\2")
_LISTS = ("Args", "Attributes", "Raises")
_ITEM = re.compile(r" {4}(\w+): (.*)")


def page(module_name: str) -> str:
    """Describe a public module in Markdown."""
    module = importlib.import_module(module_name)
    lines = [f"# {module_name}", "", _text(module), ""]
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        if isinstance(thing, type) and module_name != _home(thing):
            lines += [f"## {name}", "", f"See [{_home(thing)}]({_home(thing)}.md).", ""]
        else:
            lines += _entry(name, thing, level=2)
    return "\n".join(lines).rstrip() + "\n"


def _home(thing: type) -> str:
    """The module whose page describes a class: errors have one of their own."""
    if issubclass(thing, BaseException) and thing.__module__ in MODULES:
        return thing.__module__
    return max((m for m in MODULES if _exports(m, thing)), key=len, default=thing.__module__)


def _exports(module_name: str, thing: type) -> bool:
    module = importlib.import_module(module_name)
    return getattr(module, thing.__name__, None) is thing and thing.__name__ in module.__all__


def _entry(name: str, thing: object, *, level: int) -> list[str]:
    if not callable(thing) and not isinstance(thing, property):
        return [f"{'#' * level} {name}", "", "A type alias.", ""]
    lines = [f"{'#' * level} {name}", ""]
    if not isinstance(thing, property):
        lines += ["```text", _signature(name, thing), "```", ""]
    lines += [_text(thing), ""]
    if isinstance(thing, type) and not issubclass(thing, enum.Enum):
        for member_name, member in _members(thing):
            lines += _entry(f"{name}.{member_name}", member, level=level + 1)
    return lines


def _members(thing: type) -> Iterator[tuple[str, object]]:
    for name in dir(thing):
        if name.startswith("_") or issubclass(thing, BaseException):
            continue
        member = inspect.getattr_static(thing, name)
        if isinstance(member, (classmethod, staticmethod)):
            member = member.__func__
        is_own = any(name in vars(base) for base in thing.__mro__ if _is_ours(base))
        if is_own and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def _is_ours(base: type) -> bool:
    return base.__module__.split(".")[0] in ("chorus_fabric", "prism", "prismresonance")


def _signature(name: str, thing: object) -> str:
    """Spell a call, one parameter a line if it is long."""
    if not callable(thing):
        return name
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return name
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    parts = [_QUOTED.sub(r"\1\3", str(parameter)) for parameter in parameters]
    kinds = [parameter.kind for parameter in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returns = signature.return_annotation
    end = "" if returns in (inspect.Signature.empty, None, "None") else f" -> {returns}"
    line = f"{name}({', '.join(parts)}){end}"
    if len(line) > 90:
        line = f"{name}(\n    " + ",\n    ".join(parts) + f",\n){end}"
    # The address of a default object would change with every run.
    return re.sub(r" at 0x[0-9a-f]+|<factory>", "", line)


def _text(thing: object) -> str:
    """Turn a Google-style docstring into Markdown: its sections become lists."""
    lines: list[str] = []
    section = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        heading = _SECTION.fullmatch(line)
        item = _ITEM.fullmatch(line)
        if heading:
            section = heading[1]
            lines += [f"**{section}**", ""]
        elif not line.startswith(" "):
            section = section if not line else ""
            lines.append(line)
        elif section in _LISTS and item:
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif section:
            lines.append(f"  {line.strip()}" if section in _LISTS else line.strip())
        else:
            lines.append(line)
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["write", "check"])
    command = parser.parse_args().command
    pages = {PAGES / f"{name}.md": page(name) for name in MODULES}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if command == "check":
        for path in stale:
            print(f"{path.name} is not what the code says: hatch run reference write")
        return 1 if stale else 0
    PAGES.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(pages[path])
        print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
