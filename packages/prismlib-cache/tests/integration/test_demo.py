"""The demo: its corpus, its counting, and the whole of it as a newcomer starts it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

DEMO = Path(__file__).parents[4] / "docs" / "demo"
sys.path.append(str(DEMO))  # `python docs/demo` puts it there by itself

from _faq import Faq, FaqError, load, normalised, parse  # noqa: E402  found by the line above
from _mock_llm import MockLLM  # noqa: E402
from _report import milliseconds, plain_table, usd, wrong_lines  # noqa: E402
from _scoreboard import Outcome, Scoreboard, percentile  # noqa: E402
from _support import PASTE  # noqa: E402
from _traffic import requests  # noqa: E402
from _views import LiveView, PlainView  # noqa: E402

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def faq() -> Faq:
    return load(DEMO / "faq.toml")


@pytest.fixture
def document() -> dict[str, Any]:
    return tomllib.loads((DEMO / "faq.toml").read_text(encoding="utf-8"))


def outcome(question: str = "a?", **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "question": question,
        "entry_id": "a",
        "served_entry_id": "a",
        "kind": "miss",
        "cosine": None,
        "matched": None,
        "latency_s": 0.04,
        "call_tokens": 120,
        "call_usd": 0.001,
    }
    return Outcome(**(values | changes))


class TestCorpus:
    def test_size_is_as_promised(self, faq: Faq) -> None:
        assert 300 <= sum(len(entry.questions) for entry in faq.entries) <= 350
        assert sum(entry.family is not None for entry in faq.entries) >= len(faq.entries) / 4

    def test_no_text_occurs_twice(self, faq: Faq) -> None:
        texts = [normalised(q) for entry in faq.entries for q in entry.questions]
        assert len(texts) == len(set(texts))

    def test_has_the_pair_that_the_readme_promises(self, faq: Faq) -> None:
        first = faq.entry_of("How do I reset my password?")
        assert faq.entry_of("I forgot my password, help") is first

    def test_texts_can_be_typed_on_any_keyboard(self, faq: Faq) -> None:
        for entry in faq.entries:
            assert all(text.isascii() for text in (*entry.questions, *entry.answers))

    def test_traffic_leaves_out_what_is_explained_later(self, faq: Faq) -> None:
        left = {question for entry in faq.in_traffic() for question in entry.questions}
        refused = [faq.entry_of(d.asked) for d in faq.decisions if d.expect == "miss"]
        assert refused
        assert not left & {d.asked for d in faq.decisions}
        assert not left & {question for entry in refused for question in entry.questions}
        assert all(entry.questions for entry in faq.in_traffic())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.update(extra=1), "unknown key 'extra'"),
            (lambda d: d["entries"][0].update(question="x"), "password-reset: unknown key"),
            (lambda d: d["entries"][0].pop("answers"), "answers must be a list"),
            (lambda d: d["entries"][0].update(answers=["one"]), "two answers"),
            (lambda d: d["entries"][0].update(questions=["x"]), "five questions"),
            (lambda d: d["entries"][0].update(id=""), "id must be a text"),
            (lambda d: d["entries"][1].update(id="password-reset"), "id 'password-reset' occurs"),
            (
                lambda d: d["entries"][1]["questions"].append("how do i RESET my password"),
                "question 'how do i reset my password' occurs twice",
            ),
            (
                lambda d: d["entries"][1]["answers"].append(d["entries"][0]["answers"][0]),
                "occurs twice: password-reset and password-change",
            ),
            (lambda d: d["entries"][0].pop("family"), "has one member"),
            (lambda d: d["decisions"][0].update(expect="maybe"), "expect is 'maybe'"),
            (lambda d: d["decisions"][0].update(expect="miss"), "does not follow"),
            (lambda d: d["decisions"][0].update(asked="Who?"), r"no entry has 'Who\?'"),
            (lambda d: d.pop("decisions"), r"needs \[\[decisions\]\]"),
            (lambda d: d.update(entries=["x"]), "must be tables"),
        ],
    )
    def test_loader_refuses(self, document: dict[str, Any], change: Any, message: str) -> None:
        change(document)
        with pytest.raises(FaqError, match=message):
            parse(document)

    def test_loader_names_a_broken_file(self, tmp_path: Path) -> None:
        (tmp_path / "faq.toml").write_text("[[entries]\n", encoding="utf-8")
        with pytest.raises(FaqError, match=r"faq\.toml"):
            load(tmp_path / "faq.toml")


class TestTraffic:
    def test_equal_seeds_give_equal_questions(self, faq: Faq) -> None:
        assert requests(faq, 300, seed=3) == requests(faq, 300, seed=3)
        assert requests(faq, 300, seed=3) != requests(faq, 300, seed=4)

    def test_labels_are_right(self, faq: Faq) -> None:
        for request in requests(faq, 300, seed=3):
            assert faq.entry_of(request.question).id == request.entry_id

    def test_has_repeats_and_look_alikes(self, faq: Faq) -> None:
        traffic = requests(faq, 400, seed=1)
        alike = {entry.id for entry in faq.entries if entry.family}
        assert 0.4 < len({request.question for request in traffic}) / 400 < 0.6
        assert sum(request.entry_id in alike for request in traffic) > 100


class TestMockLLM:
    def test_words_the_answer_anew_and_knows_whose_it_is(self, faq: Faq) -> None:
        llm = MockLLM(faq, latency_s=0)
        texts = [llm.answer("error 403").text for _ in range(4)]
        assert len(set(texts)) == 4
        assert {llm.entry_id_of(text) for text in texts} == {"error-403"}
        assert llm.calls == 4

    def test_takes_its_time_and_reports_usage(self, faq: Faq) -> None:
        llm = MockLLM(faq, latency_s=0.02)
        start = time.perf_counter()
        reply = llm.answer("How do I reset my password?")
        assert time.perf_counter() - start >= 0.02
        assert reply.input_tokens > reply.output_tokens > 20
        assert llm.usage_of("How do I reset my password?") == (
            reply.input_tokens,
            reply.output_tokens,
        )


class TestScoreboard:
    def test_counts_both_sides(self) -> None:
        board = Scoreboard()
        board.record(outcome("a?"))
        board.record(outcome("a?", kind="exact", latency_s=0.001))
        board.record(outcome("a??", kind="similar", cosine=0.9, matched="a?", latency_s=0.01))
        assert (board.cache.hits, board.cache.similar_hits, board.cache.misses) == (2, 1, 1)
        assert (board.exact.hits, board.exact.misses) == (1, 2)
        assert board.exact.saved_tokens == 120
        assert board.exact.saved_usd == pytest.approx(0.001)
        assert board.cache.hit_rate == pytest.approx(2 / 3)
        assert (len(board.hit_latencies_s), len(board.miss_latencies_s)) == (2, 1)
        assert (board.questions, board.possible) == (3, 2)

    def test_wrong_hits_are_kept_with_their_pair(self) -> None:
        board = Scoreboard()
        board.record(outcome("b?", kind="similar", served_entry_id="c", cosine=1.0, matched="c?"))
        assert board.cache.wrong_hits == 1
        assert board.exact.wrong_hits == 0
        assert wrong_lines(board) == ["  WRONG: 'b?' got the answer to 'c?' (c, not a)"]

    def test_an_unknown_price_stays_unknown(self) -> None:
        board = Scoreboard()
        for _ in range(3):
            board.record(outcome("a?", call_usd=None))
        board.record_savings(tokens=240, usd=None, guarded=0)
        assert board.exact.saved_usd is None
        assert "unknown" in plain_table(board)

    def test_nothing_is_unknown_rather_than_zero(self) -> None:
        assert Scoreboard().cache.hit_rate is None
        assert percentile([], 0.5) is None
        assert usd(None) == "unknown"
        assert milliseconds(None) == "-"

    @pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.95, 4.0), (0.01, 1.0)])
    def test_percentile_is_nearest_rank(self, share: float, value: float) -> None:
        assert percentile([4.0, 1.0, 3.0, 2.0], share) == value


class TestViews:
    def board(self) -> Scoreboard:
        board = Scoreboard()
        board.record(outcome("What does [bold]error[/] 403 mean?"))
        board.record(outcome("a?", kind="similar", served_entry_id="c", cosine=1.0, matched="[c?"))
        return board

    def test_plain_view_prints_a_line_at_the_end(self) -> None:
        page = io.StringIO()
        view = PlainView(Console(file=page, color_system=None, width=200), total=2)
        view.update(self.board())
        view.close()
        assert page.getvalue().startswith("     2 of 2: 1 hits (1 in other words), 1 wrong")
        assert not CONTROL.search(page.getvalue())

    def test_live_view_shows_texts_as_typed(self) -> None:
        page = io.StringIO()
        console = Console(file=page, force_terminal=True, width=120, height=40, markup=False)
        view = LiveView(console, total=2)
        view.update(self.board())
        view.close()
        assert "What does [bold]error[/] 403 mean?" in page.getvalue()
        assert "[c?" in page.getvalue()
        assert "WRONG" in page.getvalue()

    def test_table_lines_are_even(self) -> None:
        lines = plain_table(self.board()).splitlines()
        assert len({len(line) for line in lines}) == 1


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        env=os.environ | {"FORCE_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )


class TestWhole:
    def test_plain_lines_without_a_terminal(self) -> None:
        done = run_demo("--only", "cache", "--questions", "60", "--latency-ms", "1")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert not CONTROL.search(done.stdout)
        assert "60 of 60:" in done.stdout
        assert "MOCK" in done.stdout
        assert PASTE in done.stdout

    def test_json_for_machines(self) -> None:
        done = run_demo("--only", "cache", "--questions", "200", "--latency-ms", "1", "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)["cache"]
        assert result["questions"] == 200
        assert result["cache"]["hits"] + result["cache"]["misses"] == 200
        assert result["cache"]["hits"] >= result["dict"]["hits"]
        assert result["cache"]["wrong_hits"] == len(result["wrong_hits"]) <= 2
        assert [d["decision"] != "miss" for d in result["decisions"]] == [True, False, False]
        assert result["at_once"] == {"people": 8, "calls": 1}
        assert result["restart"]["hit"] is True
        assert result["restart"]["calls"] == 0

    @pytest.mark.parametrize("arguments", [["--questions", "0"], ["--plain", "--json"], ["more"]])
    def test_wrong_arguments_are_explained(self, arguments: list[str]) -> None:
        done = run_demo(*arguments)
        assert done.returncode == 2
        assert "usage: python docs/demo" in done.stderr

    def test_help_teaches(self) -> None:
        done = run_demo("--help")
        assert done.returncode == 0
        assert "examples:" in done.stdout

    @pytest.mark.skipif(os.name == "nt", reason="no SIGINT for a child process there")
    def test_ctrl_c_ends_it_without_a_traceback(self, tmp_path: Path) -> None:
        demo = subprocess.Popen(
            [sys.executable, "-u", str(DEMO), "--only", "cache", "--plain", "--latency-ms", "200"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("1. "):
                break
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60)
        assert demo.returncode == 130
        assert err == ""
        assert "Stopped" in out
        assert list(tmp_path.glob("prism-demo-*")) == []


def test_what_it_prints_to_paste_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[str] = []

    def create(*, model: str, messages: list[dict[str, str]]) -> SimpleNamespace:
        calls.append(model)
        message = SimpleNamespace(content=f"re: {messages[0]['content']}")
        return SimpleNamespace(choices=[SimpleNamespace(message=message)])

    completions = SimpleNamespace(create=create)
    client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
    names: dict[str, Any] = {"openai_client": client}
    exec(PASTE, names)  # noqa: S102  our own text
    try:
        assert names["ask"]("What is a card reader?") == "re: What is a card reader?"
        assert names["ask"]("What is a card reader?") == "re: What is a card reader?"
        assert calls == ["gpt-4o-mini"]
    finally:
        names["cache"].close()
