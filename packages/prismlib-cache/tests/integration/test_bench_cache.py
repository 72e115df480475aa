"""The cache benchmark counts what a user sees, and runs where no peer is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # `python benchmarks/run.py` puts it there by itself

import intents  # noqa: E402  found by the line above
from answering import blind, latency  # noqa: E402
from answering.asking import ask_stream  # noqa: E402
from answering.facts import facts_of  # noqa: E402
from answering.goals import Findings  # noqa: E402
from answering.kept import Journal, findings  # noqa: E402
from answering.llm_server import served  # noqa: E402
from answering.load import Load, Plan  # noqa: E402
from answering.model import RewordingModel  # noqa: E402
from answering.rules import COSINES, EXACT, apply_rules  # noqa: E402
from answering.streams import KINDS, ONCE, Request, Stream, stream  # noqa: E402
from answering.tally import Tally  # noqa: E402
from answering.vectors import KeptVectors  # noqa: E402
from prismresonance.embed import StaticEmbedder  # noqa: E402


class Angles:
    """An embedder of two dimensions: texts are angles in degrees, and a word that tells them."""

    model_id, dim = "angles/1", 2

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.embedded += texts
        angles = np.radians([float(text.split()[0]) for text in texts])
        return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def asked(*requests: tuple[str, str]) -> Stream:
    return Stream("made up", ONCE, 1, tuple(Request(*request) for request in requests))


def test_timing_stops_where_texts_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Request(f"{angle} degrees of rotation", f"turn {angle}") for angle in range(0, 90, 30)]
    monkeypatch.setattr(latency, "_all_texts", lambda: few)
    with closing(KeptVectors(Angles(), tmp_path)) as vectors:
        filling = latency.filled(vectors, entries=4, probes=1, track=iter)
        with pytest.raises(SystemExit, match="with 3 answers, not with 4"), filling:
            raise AssertionError("nothing is timed")


class TestModel:
    def test_words_change_and_facts_stay(self):
        model = RewordingModel(1)
        for intent in ("card_arrival", "translate", f"{intents.OUT_OF_SCOPE}who was {{0}} king?"):
            facts = facts_of(intent)
            texts = [model.answer("?", intent).answer for _ in range(300)]
            assert len(set(texts)) == 300
            told = [facts.topic, facts.menu, facts.team]
            told += [value for _, value in facts.values if value != "free"]
            for text in texts:
                # A sentence may begin with a fact.
                assert all(fact.lower() in text.lower() for fact in told), (told, text)
                assert not set("{}[]|") & set(text.replace(facts.topic, "")), text
                assert model.intent_of(text) == intent

    def test_a_seed_gives_the_same_answers_whoever_asks_in_between(self):
        one, other = RewordingModel(1), RewordingModel(1)
        other.answer("?", "translate")
        texts = [model.answer("?", "card_arrival").answer for model in (one, other)]
        assert texts[0] == texts[1]
        assert RewordingModel(2).answer("?", "card_arrival").answer != texts[0]

    @pytest.mark.parametrize("name", intents.SETS)
    def test_no_two_intents_have_one_answer(self, name):
        named = {intent for _, intent in intents.labelled(name)}
        facts = [facts_of(intent) for intent in named]
        assert len({(f.menu, f.team, f.values) for f in facts}) == len(named)
        # And hardly a single fact tells an intent.
        values = [value for f in facts for value in f.values]
        assert sum(values.count(value) == 1 for value in set(values)) <= 2


class TestStreams:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", intents.SETS)
    def test_equal_seeds_give_equal_streams(self, name, kind):
        one, same, other = (stream(name, kind, seed=seed, length=500) for seed in (1, 1, 2))
        assert one == same
        assert one.requests != other.requests
        like = one.described()
        assert (like.repeated_share == 0) == (kind == ONCE)
        assert like.repeated_share <= like.possible_share < 1


class TestCounting:
    def test_answers_to_other_intents_are_wrong_hits(self):
        requests = asked(("0 a", "one"), ("0 b", "one"), ("0 c", "two"), ("90 d", "two"))
        tally = ask_stream(requests, Angles(), target=0.01, track=iter, similarity_threshold=0.9)
        assert (tally.requests, tally.hits, tally.wrong) == (4, 2, 1)
        assert (tally.calls, tally.checks) == (2, 0)
        assert tally.metrics is not None
        assert tally.metrics["hits"] == 2

    def test_without_rules_actions_are_answered_too(self):
        requests = asked(("Cancel my order", "one"), ("Cancel my order", "one"))
        hits = [
            ask_stream(
                requests,
                StaticEmbedder(),
                target=0.01,
                track=iter,
                pause_s=None,
                admits_all=admits_all,
            ).hits
            for admits_all in (False, True)
        ]
        assert hits == [0, 1]

    def test_rules_serve_the_nearest_that_passes_and_store_what_does_not(self):
        # cos 20° = .94, cos 32° = .85, cos 50° = .64, cos 60° = .5
        requests = asked(
            ("0 a", "one"), ("20 b", "one"), ("32 c", "two"), ("82 d", "two"), ("0 a", "one")
        )  # fmt: skip
        tallies = {tally.who: tally for tally in apply_rules(requests, Angles(), track=iter)}
        assert (tallies[EXACT].hits, tallies[EXACT].wrong) == (1, 0)
        counts = {least: (tallies[n].hits, tallies[n].wrong) for n, least in COSINES.items()}
        # At .90, 32° is too far from 0° and stored. At .80 it is served; 82° never, from 0° alone.
        assert counts == {0.90: (2, 0), 0.80: (3, 1), 0.60: (3, 1)}

    def test_vectors_are_kept_over_runs(self, tmp_path):
        first, second = Angles(), Angles()
        with closing(KeptVectors(first, tmp_path)) as vectors:
            rows = vectors.embed(["0 a", "90 b", "0 a"])
        with closing(KeptVectors(second, tmp_path)) as again:
            assert np.array_equal(again.embed(["0 a", "90 b", "0 a"]), rows)
            assert (first.embedded, second.embedded) == (["0 a", "90 b"], [])
            again.is_live = True
            again.embed(["0 a"])
            assert second.embedded == ["0 a"]
            again.is_live = False
            assert again.embed([]).shape == (0, 2)

    def test_the_provider_answers_over_http(self):
        with served({"hello?": "greeting"}, latency_s=0.0, seed=1) as client:
            replies = [client.ask("hello?") for _ in range(3)]
        assert len({reply.answer for reply in replies}) == 3
        assert all(reply.usage and reply.usage.output_tokens > 20 for reply in replies)


class TestKept:
    def test_a_stopped_run_finds_what_it_had_done(self, tmp_path):
        file, settings = tmp_path / "deep" / "streams.jsonl", {"questions": 2}
        tally = Tally("made up", ONCE, 1, "somebody", 0.01, requests=2, hits=1, course=[(2, 1, 0)])
        Journal(file, Tally, settings).put(("made up", 1), [tally])
        with file.open("a") as half:
            half.write('{"code": "')
        again = Journal(file, Tally, settings)
        assert again.get(("made up", 1)) == [tally]
        assert again.get(("made up", 2)) is None
        assert Journal(file, Tally, {"questions": 3}).get(("made up", 1)) is None

    def test_other_parts_stay_when_one_is_run_again(self):
        plan = Plan("faq", 20, 60.0, 1.0, 0.91, 1)
        load = Load(plan, 10, 8, 2, 0, 2, 80.0, 81.0, None, 80.0, 0, {"hits": 2})
        tally = Tally("made up", ONCE, 1, "somebody", requests=2, course=[(2, 0, 0)])
        admitted = blind.Admitted("made up", "general", 3, {"action": 1})
        found = Findings(tallies=[tally], loads=[load], admitted=[admitted])
        assert findings(json.loads(json.dumps(asdict(found)))) == found


class TestBlind:
    def test_published_files_are_told_apart_by_their_columns(self, tmp_path):
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "home.csv").write_text(
            "answerid;scenario;intent;answer_annotation;answer_from_anno;answer_from_user\n"
            '1;alarm;set;"wake me at [time : six]";"wake me at six";"Wake me at six"\n'
            '2;alarm;set;"set an alarm for [time : six]";"set an alarm for six";""\n'
            '3;alarm;set;"wake me at [time : ten]";"wake me at ten";"Wake me at ten"\n'
            '4;qa;factoid;"how deep is the sea";"how deep is the sea";"How deep is the sea?"\n'
        )
        (tmp_path / "covid.csv").write_text(
            "Category,Question ID,Question,Source,Answers\n"
            "Masks,7,do masks help,somebody,yes\nMasks,7,are masks of use,somebody,yes\n"
        )
        sets = blind.read(tmp_path)
        home = {one.request.text: one for one in sets[blind.ASSISTANT]}
        six, other_six, ten = (
            home[text].request.intent
            for text in ("Wake me at six", "set an alarm for six", "Wake me at ten")
        )
        assert six == other_six != ten
        assert home["How deep is the sea?"].kind == blind.GENERAL
        assert len({one.request.intent for one in sets[blind.COVID]}) == 1
        counts = {row.kind: row for row in blind.admitted("home", sets[blind.ASSISTANT])}
        assert counts["action"].requests == 3
        assert counts[blind.GENERAL].refused == {}
        drawn = blind.once("home", sets[blind.ASSISTANT], seed=1, length=3)
        assert len(drawn.requests) == 3

    def test_a_folder_without_such_files_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no \.csv file"):
            blind.read(tmp_path)


@pytest.mark.slow
def test_a_quick_run_measures_and_compares(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            BENCHMARKS / "run.py",
            *("cache", "--quick", "--json", "--output", tmp_path, "--vectors", tmp_path / "rows"),
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / "cache.json").read_text()) == document
    assert document["void"] is True
    assert set(document["parts"]) == {"streams", "pairs", "latency", "load"}

    repeated = {(s["data"], s["kind"]): s["repeated_share"] for s in document["streams"]}
    assert len(repeated) == len(intents.SETS) * len(KINDS)
    for tally in document["tallies"]:
        assert tally["course"][-1] == [tally["requests"], tally["hits"], tally["wrong"]]
        if tally["who"] == EXACT:
            share = repeated[tally["data"], tally["kind"]]
            assert tally["hits"] == round(share * tally["requests"])
        if tally["target"] is not None:
            metrics = tally["metrics"]
            assert metrics["requests"] == tally["requests"]
            assert metrics["hits"] == tally["hits"]
            own_calls = metrics["misses"] + metrics["refused"]
            assert tally["calls"] == own_calls + tally["checks"]

    kinds = {row["what"] for row in document["latencies"]}
    # With 150 answers the rule still moves: of the few new texts that would be answered when they
    # are picked, all may be refused when they are timed.
    assert {"exact hit", "a miss adds", "a miss adds, without embedding"} <= kinds
    assert any("GPTCache" in kind for kind in kinds) != ("GPTCache get()" in document["absent"])
    assert bool(document["pairs"]) == is_installed("fow-cache")
    assert bool(document["pairs"]) != ("fow-cache pairs" in document["absent"])
    for load in document["loads"]:
        assert load["failures"] == 0
        assert load["dict_hits"] == load["requests"] - load["distinct"]
        assert 0 < load["p50_ms"] <= load["p95_ms"]
    assert {goal["met"] for goal in document["goals"]} <= {True, False, None}


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
