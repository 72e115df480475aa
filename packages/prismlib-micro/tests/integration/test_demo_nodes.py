"""The nodes' part of the demo: its counting, and the whole of it as a newcomer starts it."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

DEMO = Path(__file__).parents[4] / "docs" / "demo"
sys.path.append(str(DEMO))  # `python docs/demo` puts it there by itself

from _faq import load  # noqa: E402  found by the line above
from _nodes_acts import PASTE_NODES, NodesResult, answered_for  # noqa: E402
from _nodes_board import Column, NodesBoard, Takeover  # noqa: E402
from _nodes_report import nodes_table, takeover_lines  # noqa: E402
from _nodes_views import LiveNodesView, PlainNodesView  # noqa: E402

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def takeover(**changes: Any) -> Takeover:
    values: dict[str, Any] = {
        "killed": "a",
        "green": "b",
        "seconds": 0.8,
        "token_before": 1,
        "token": 2,
        "old_token_refused": True,
        "acknowledged": 10,
        "lost": 0,
        "answered": 5,
        "replaced_s": 2.0,
        "missing": 0,
        "equal": True,
    }
    return Takeover(**(values | changes))


def filled() -> NodesBoard:
    board = NodesBoard({"a": Column(), "b": Column()})
    for node, question in (("a", "x?"), ("a", "x?"), ("a", "y?"), ("b", "x?")):
        board.record(node, question, tokens=100, latency_s=0.01, answered_for=None)
    board.spent("a", calls=2, tokens=200)
    return board


class TestBoard:
    def test_shares_are_weighted_by_tokens(self) -> None:
        board = filled()
        assert board.columns["a"].saved == pytest.approx(1 / 3)
        assert board.columns["b"].saved == 1.0
        assert board.cluster.saved == pytest.approx(0.5)  # not the mean of the two
        assert (board.cluster.dict_calls, board.cluster.dict_saved) == (3, pytest.approx(0.25))
        assert (board.questions, board.distinct) == (4, 2)
        assert Column().saved is None

    def test_a_process_that_starts_again_counts_on(self) -> None:
        board = filled()
        board.killed("a")
        board.spent("a", calls=0, tokens=0)
        board.spent("a", calls=3, tokens=30)
        assert (board.columns["a"].calls, board.columns["a"].tokens_spent) == (5, 230)

    def test_an_answer_to_another_question_is_wrong(self) -> None:
        faq = load(DEMO / "faq.toml")
        right, other = faq.entries[0], faq.entries[1]
        asked = right.questions[1]
        assert answered_for(faq, asked, f"Sure. {right.answers[0]} Anything else?") is None
        assert answered_for(faq, asked, other.answers[1]) == other.questions[0]

    @pytest.mark.parametrize(
        "broken", [{"token": 1}, {"lost": 1}, {"missing": 2}, {"equal": False},
                   {"old_token_refused": False}],
        ids=str,
    )  # fmt: skip
    def test_what_is_not_as_promised_is_seen(self, broken: dict[str, Any]) -> None:
        assert takeover().is_as_promised
        assert not takeover(**broken).is_as_promised


class TestViews:
    def test_plain_lines_and_table(self) -> None:
        page = io.StringIO()
        view = PlainNodesView(Console(file=page, color_system=None, width=200), total=4)
        view.update(filled(), "")
        view.close()
        assert "4 of 4: 2 calls, tokens saved 50% (a 33%, b 100%), 0 wrong" in page.getvalue()
        assert not CONTROL.search(page.getvalue())
        lines = nodes_table(filled()).splitlines()
        assert len({len(line) for line in lines}) == 1

    def test_live_view_shows_roles(self) -> None:
        page = io.StringIO()
        board = filled()
        board.roles = {"a": ("killed", None), "b": ("GREEN", 2)}
        view = LiveNodesView(Console(file=page, force_terminal=True, width=120, height=40), total=4)
        view.update(board, "a is killed")
        view.close()
        assert "GREEN, token 2" in page.getvalue()
        assert "a is killed" in page.getvalue()

    def test_takeover_is_told(self) -> None:
        said = "\n".join(takeover_lines(takeover(lost=3, old_token_refused=False)))
        assert "NOT REFUSED" in said
        assert "lost: 3" in said


def started(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", str(DEMO), "--only", "nodes", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"},
    )


class TestWhole:
    def test_json_for_machines(self, tmp_path: Path) -> None:
        demo = started(
            "--node-questions", "60", "--latency-ms", "5", "--json", folder=tmp_path
        )  # fmt: skip
        out, err = demo.communicate(timeout=150)
        assert demo.returncode == 0, err
        assert err == ""
        nodes = json.loads(out)["nodes"]
        assert nodes["as_promised"] is True
        cluster = nodes["cluster"]
        assert cluster["questions"] == nodes["questions"] >= 60
        assert sum(node["questions"] for node in nodes["nodes"].values()) == cluster["questions"]
        assert 0 < cluster["calls"] < cluster["dict_calls"]
        assert cluster["saved"] == pytest.approx(
            1 - cluster["tokens_spent"] / cluster["tokens_asked"]
        )
        assert cluster["wrong"] == len(nodes["wrong"]) <= nodes["questions"] / 20
        assert nodes["at_once"] == {"people": 12, "calls": 1, "answers": 1}
        change = nodes["takeover"]
        assert change["token"] > change["token_before"]
        assert change["green"] != change["killed"]
        assert change["acknowledged"] > 0
        assert change["lost"] == change["missing"] == 0
        assert list(tmp_path.iterdir()) == []

    def test_ctrl_c_ends_all_of_it(self, tmp_path: Path) -> None:
        demo = started("--plain", folder=tmp_path)
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("1. "):
                break
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60)
        assert demo.returncode == 130, err
        assert err == ""
        assert not CONTROL.search("".join(lines) + out)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def program() -> Iterator[Any]:
    """The program, in this process, where it can be made to fail."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    spec = importlib.util.spec_from_file_location("demo_program", DEMO / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_lost_answer_is_told_and_is_a_failure(
    program: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_once = {"people": 12, "calls": 1, "answers": 1}
    result = NodesResult(filled(), takeover(lost=1), at_once, 1.0)
    monkeypatch.setattr(program, "show_nodes", lambda *_, **__: result)
    assert program.main(["--only", "nodes", "--plain"]) == 1
    assert "NOT AS PROMISED" in capsys.readouterr().out


def test_what_it_prints_to_paste_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pasted = PASTE_NODES
    for number in (1, 2, 3):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        pasted = pasted.replace(f"10.0.0.{number}:50061", f"127.0.0.1:{port}")
    llm = SimpleNamespace(complete=lambda question: f"re: {question}")
    names: dict[str, Any] = {"llm": llm, "secret": "0123456789abcdef" * 4}
    exec(pasted, names)  # noqa: S102  our own text
    assert asyncio.run(names["serve"]("What is a card reader?")) == "re: What is a card reader?"
