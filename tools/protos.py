"""Make or check the Python code of `protos/`.

    python tools/protos.py write
    python tools/protos.py check

`check` lints the files (see below), makes the code anew beside the committed one and compares; it
exits with 1 and names what is wrong. Rules, after those of the Buf style guide:

- a file's package is its folder, and ends in a version (`chorus_fabric.v1` in `chorus_fabric/v1`);
- services end in `Service`; each method takes `<Method>Request` and gives `<Method>Reply`, or
  streams `Envelope` and `Ack`; messages are in PascalCase, fields in snake_case;
- every service, method and field says in a comment what it is;
- the numbers of a message's fields are 1, 2, 3... without gaps, unless the gap is `reserved`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGETS = {
    "chorus_fabric": ROOT / "packages" / "chorus-fabric" / "src",
    "prism/wrapper": ROOT / "packages" / "prismlib-wrapper" / "src",
}
"""Where the code of the files below a folder of `protos/` is."""

_VERSIONED = re.compile(r"[a-z_]+(\.[a-z_]+)*\.v[1-9][0-9]*")
_PASCAL = re.compile(r"([A-Z][a-z0-9]+)+")
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_STREAMED = ("Envelope", "Ack")

# Numbers of fields in descriptor.proto, of which a comment's path is made.
_MESSAGES, _SERVICES = 4, 6
_FIELDS = _METHODS = 2


def sources() -> list[Path]:
    """List the proto files."""
    return sorted(PROTOS.rglob("*.proto"))


def home(path: Path) -> Path:
    """The source folder of the distribution that holds a generated file."""
    return next(root for top, root in TARGETS.items() if path.is_relative_to(top))


def write() -> None:
    """Make the committed code anew."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        for path in _files(fresh):
            committed = home(path.relative_to(fresh)) / path.relative_to(fresh)
            committed.parent.mkdir(parents=True, exist_ok=True)
            committed.write_bytes(path.read_bytes())


def generate(target: Path) -> None:
    """Make the code of all files below a folder."""
    _protoc(
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
    )
    for source in sources():
        package = target / source.parent.relative_to(PROTOS)
        (package / "__init__.py").write_text(
            f'"""Made from `protos/{source.parent.relative_to(PROTOS)}`; do not edit."""\n'
        )


def stale(target: Path | None = None) -> list[str]:
    """Name the committed files, or those of one folder, that are not what the protos give."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        made = {path.relative_to(fresh): path.read_bytes() for path in _files(fresh)}
    there: dict[Path, bytes] = {}
    for package in {path.parent for path in made}:
        root = target or home(package)
        there |= {path.relative_to(root): path.read_bytes() for path in _files(root / package)}
    return [str(path) for path in sorted(made.keys() | there) if made.get(path) != there.get(path)]


def problems() -> list[str]:
    """Lint the proto files."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "all.bin"
        _protoc(f"--descriptor_set_out={written}", "--include_source_info")
        files = descriptor_pb2.FileDescriptorSet.FromString(written.read_bytes()).file
    return [f"{file.name}: {problem}" for file in files for problem in lint(file)]


def lint(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    """Tell what a file does against the rules."""
    found = []
    if not _VERSIONED.fullmatch(file.package):
        found.append(f"package {file.package!r} does not end in a version, such as chorus.v1")
    if str(Path(file.name).parent) != file.package.replace(".", "/"):
        found.append(f"package {file.package!r} is not its folder {Path(file.name).parent}")
    told = {
        tuple(place.path)
        for place in file.source_code_info.location
        if place.leading_comments.strip()
    }
    for number, service in enumerate(file.service):
        if not service.name.endswith("Service") or not _PASCAL.fullmatch(service.name):
            found.append(f"service {service.name} is not called SomethingService")
        if (_SERVICES, number) not in told:
            found.append(f"service {service.name} says not what it is")
        for place, method in enumerate(service.method):
            if (_SERVICES, number, _METHODS, place) not in told:
                found.append(f"method {service.name}.{method.name} says not what it does")
            found += _method(service.name, method)
    for number, message in enumerate(file.message_type):
        found += _message(message, number, told)
    return found


def _method(service: str, method: descriptor_pb2.MethodDescriptorProto) -> list[str]:
    found = []
    for type_name, is_stream, ending in (
        (method.input_type, method.client_streaming, "Request"),
        (method.output_type, method.server_streaming, "Reply"),
    ):
        name = type_name.rpartition(".")[2]
        allowed = _STREAMED if is_stream else (method.name + ending,)
        if name not in allowed:
            found.append(f"{service}.{method.name}: {name} should be {' or '.join(allowed)}")
    return found


def _message(
    message: descriptor_pb2.DescriptorProto, number: int, told: set[tuple[int, ...]]
) -> list[str]:
    found = []
    if not _PASCAL.fullmatch(message.name):
        found.append(f"message {message.name} is not in PascalCase")
    for place, field in enumerate(message.field):
        if not _SNAKE.fullmatch(field.name):
            found.append(f"field {message.name}.{field.name} is not in snake_case")
        if (_MESSAGES, number, _FIELDS, place) not in told:
            found.append(f"field {message.name}.{field.name} says not what it is")
    numbers = {field.number for field in message.field}
    kept = {n for gap in message.reserved_range for n in range(gap.start, gap.end)}
    missing = set(range(1, max(numbers, default=0) + 1)) - numbers - kept
    if missing:
        found.append(f"message {message.name}: reserve the numbers {sorted(missing)}")
    return found


def _protoc(*options: str) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTOS}",
            *options,
            *(str(source.relative_to(PROTOS)) for source in sources()),
        ],
        check=True,
    )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".py", ".pyi")]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["write", "check"])
    if parser.parse_args().command == "write":
        write()
        return 0
    wrong = problems()
    wrong += [f"{path} is not what protos/ gives: hatch run lint:protos-write" for path in stale()]
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
