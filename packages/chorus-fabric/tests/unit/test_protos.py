"""The committed code is what the protos give, and the lint of them finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

import protos


def test_the_committed_code_is_current() -> None:
    assert protos.problems() == []
    assert protos.stale() == []


def test_changed_code_is_noticed(tmp_path: Path) -> None:
    protos.generate(tmp_path)
    assert protos.stale(tmp_path) == []
    (tmp_path / "chorus_fabric" / "v1" / "extra_pb2.py").write_text("")
    module = tmp_path / "chorus_fabric" / "v1" / "wrapper_pb2.py"
    module.write_text(module.read_text() + "\n")
    assert protos.stale(tmp_path) == [
        "chorus_fabric/v1/extra_pb2.py",
        "chorus_fabric/v1/wrapper_pb2.py",
    ]


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        ("package chorus;", "does not end in a version"),
        ("package other.v1;", "is not its folder"),
        ("message lower { }", "not in PascalCase"),
        ("message M { string Name = 1; }", "not in snake_case"),
        ("message M { string name = 1; }", "says not what it is"),
        ("message M {\n  // A.\n  string a = 1;\n  // C.\n  string c = 3;\n}", "reserve"),
        ("message A { }\n// S.\nservice Things { }", "SomethingService"),
        (
            "message A { }\n// S.\nservice AService {\n  // G.\n  rpc Get(A) returns (A);\n}",
            "should be GetRequest",
        ),
    ],
)
def test_what_is_against_the_rules_is_named(
    proto: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "chorus" / "v1"
    folder.mkdir(parents=True)
    package = "" if proto.startswith("package") else "package chorus.v1;\n"
    (folder / "x.proto").write_text(f'syntax = "proto3";\n{package}{proto}\n')
    monkeypatch.setattr(protos, "PROTOS", tmp_path)
    assert any(problem in found for found in protos.problems()), protos.problems()
