"""Does PrismCache answer right, how often, and how fast? Seen from outside, as a user sees it.

Parts, each of which can be run alone with --only; the others' results stay in cache.json:

  streams  BANKING77 and CLINC150 asked through get_or_call, once at most and with popular intents,
           with max_error 1, 2 and 5 %. The mock model words its answers anew at every call. Twice:
           with default settings, and with admission=None. On the same vectors and requests: a dict
           of exact texts, cosine .80, and the default rules of GPTCache and RedisVL (the rules, not
           the products)
  blind    the same, once, on data that is not shipped and was not in view: --blind FOLDER with a
           checkout of NLU-Evaluation-Data or COVID-Q; and what the admission rules refuse there
  pairs    the pairs of fow-cache, each in an empty cache, and the demo's FAQ in a cold one
  latency  hits and misses in a cache with many entries, beside the real get() of GPTCache, and
           16 threads against one on the exact tier
  load     20 and 50 users before a provider that takes 80 ms over HTTP

How to read it:

  wrong    share of all requests that got the answer to another intent. An intent stands for an
           answer; both sets have intents that people would tell apart by a hair
  checks   calls that the cache made beside those that answered a request
  once     every text once: no exact repeat helps. zipf: popular intents often, texts repeat
  admits   without admission rules: right where no answer depends on who asks or when, and nothing
  all      is done. Many requests of CLINC150 are of the other sort ("what's my balance", "book a
           flight"), though the set has one label for all: by default they are not cached
  least    the shortest time of all questions: the easiest one at the quietest moment
  CPU      median CPU time of the asking thread: what a busy machine changes least

What is not measured: answers are right or wrong by intent, not by what they say; streams of
chunks, expiry and restarts have tests, not figures.

Vectors are kept on disk and looked up: the streams' time is the cache's, without the embedder.
After each request of a stream the run waits until the cache has learned from it, so that the same
stream gives the same figures on a busy machine; --pause-ms lets it learn beside. Streams that are
done are kept beside the vectors: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import intents
import machine
from answering import blind, gptcache_peer, pairs
from answering.asking import TARGETS, US, ask_stream
from answering.drawings import draw_loads, draw_tallies
from answering.faq import cold_faq
from answering.goals import Findings, goals
from answering.kept import Journal, findings
from answering.latency import filled, latencies, peer_latencies
from answering.load import POOLS, PUBLISHED, Plan, run_load
from answering.report import report
from answering.rules import apply_rules
from answering.streams import KINDS, Stream, stream
from answering.tally import Tally
from answering.threads import throughput
from answering.vectors import KeptVectors, default_folder
from command import add_telling, parsed, parser_of
from contestant import optional
from goal import goal_table
from prismresonance.embed import MiniLMEmbedder, StaticEmbedder

PARTS = ("streams", "blind", "pairs", "latency", "load")
# What each part finds; the rest of an earlier run is kept.
FOUND = {
    "streams": ("streams", "tallies"),
    "blind": ("blind_streams", "blind_tallies", "admitted"),
    "pairs": ("pairs", "faq"),
    "latency": ("latencies", "throughput"),
    "load": ("loads",),
}
PACKAGES = (
    "prismlib-cache", "prismresonance", "numpy", "numba", "onnxruntime", "wordllama",
    "genai-prices", "gptcache", "faiss-cpu", "fow-cache",
)  # fmt: skip


class Way(NamedTuple):
    """How PrismCache is asked: with what `max_error`, with admission rules or without."""

    target: float
    admits_all: bool


Track = Callable[[str], Callable[[Iterable[Any]], Iterable[Any]]]


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    console = Console(stderr=True)
    load_before = machine.load()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    with bar, contextlib.closing(_Run(options, bar)) as run:
        for part in options.only:
            getattr(run, part)()
    about = {
        **machine.facts(PACKAGES),
        "load": {"before": load_before, "after": machine.load()},
        "options": {
            name: getattr(options, name)
            for name in (
                "embedder", "seeds", "questions", "pause_ms", "entries", "load_scale", "think_s",
                "quick",
            )
        },
        "embedding_s": run.embedding_s,
    }  # fmt: skip
    file = None if options.output is None else options.output / "cache.json"
    earlier = _earlier(file, console)
    found = findings(earlier)
    for part in options.only:
        for name in FOUND[part]:
            setattr(found, name, getattr(run.found, name))
    document = {
        "command": "hatch run bench cache",
        "parts": {**earlier.get("parts", {}), **dict.fromkeys(options.only, about)},
        "void": options.quick,
        "absent": _absent(),
        "goals": [asdict(goal) for goal in goals(found)],
        **asdict(found),
    }
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n")
        drawn = draw_tallies(found.tallies, file.parent) + draw_loads(found.loads, file.parent)
        if (found.tallies or found.loads) and not drawn:
            console.print("matplotlib is not installed: no drawings")
    if options.json:
        print(json.dumps(document))
    else:
        _show(document["parts"][options.only[-1]], document, found)
    return 0


def _earlier(file: Path | None, console: Console) -> dict[str, Any]:
    """Read what an earlier run wrote; nothing if it was void or of another version."""
    if file is None or not file.exists():
        return {}
    earlier: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if earlier.get("void") or "parts" not in earlier:
        console.print(f"{file} is void or of another version: its other parts are dropped")
        return {}
    return earlier


class _Run:
    """The parts of a run, and what they found.

    Attributes:
        found: What was measured.
        embedding_s: Seconds that went into vectors that were not kept yet, by embedder.
    """

    def __init__(self, options: argparse.Namespace, bar: Progress) -> None:
        self._options, self._bar = options, bar
        self.found = Findings()
        self._vectors: dict[str, KeptVectors] = {}
        names = ("embedder", "questions", "pause_ms")
        settings = {name: getattr(options, name) for name in names}
        self._journal = Journal(options.vectors / "streams.jsonl", Tally, settings)

    @property
    def embedding_s(self) -> dict[str, float]:
        return {name: round(vectors.embedding_s, 1) for name, vectors in self._vectors.items()}

    def streams(self) -> None:
        """Ask the streams."""
        length, seeds = self._options.questions, range(1, self._options.seeds + 1)
        ways = [(data, kind, seed) for data in intents.SETS for kind in KINDS for seed in seeds]
        for way in self._ways():
            for data, kind, seed in ways:
                drawn = stream(data, kind, seed=seed, length=length)
                self.found.tallies += self._asked(drawn, way)
        self.found.streams = [
            stream(data, kind, seed=seed, length=length).described() for data, kind, seed in ways
        ]

    def blind(self) -> None:
        """Ask what was not in view."""
        for data, known in blind.read(self._options.blind).items():
            self.found.admitted += blind.admitted(data, known)
            for seed in range(1, self._options.seeds + 1):
                drawn = blind.once(data, known, seed=seed, length=self._options.questions)
                self.found.blind_streams.append(drawn.described())
                for way in self._ways():
                    self.found.blind_tallies += self._asked(drawn, way)

    def pairs(self) -> None:
        """Judge the pairs and the FAQ."""
        vectors = self._kept(self._options.embedder)
        self.found.pairs = pairs.served_pairs(vectors, self._steps("fow-cache pairs"))
        most = 2 if self._options.quick else 1_000
        self.found.faq = cold_faq(vectors, self._steps("FAQ, cold"), most=most)

    def latency(self) -> None:
        """Time hits and misses."""
        quick = self._options.quick
        probes = 10 if quick else 300
        for name in ("minilm", "static"):
            prepared = filled(
                self._kept(name),
                entries=self._options.entries,
                probes=probes,
                track=self._steps(f"filling a cache, {name}"),
            )
            with prepared as cache:
                for _ in self._steps(f"latency, {name}")(range(1)):
                    self.found.latencies += latencies(cache, probes=probes)
                if name != "minilm":
                    continue
                for _ in self._steps("latency, GPTCache")(range(1)):
                    self.found.latencies += peer_latencies(cache, probes=probes)
                self.found.throughput = throughput(
                    cache.cache,
                    list(cache.stored),
                    seconds=0.05 if quick else 1.0,
                    track=self._steps("threads on the exact tier"),
                )

    def load(self) -> None:
        """Let users ask."""
        embedder = _embedder(self._options.embedder)
        for pool in POOLS:
            for users, seconds, published in PUBLISHED:
                scaled = seconds * self._options.load_scale
                plan = Plan(pool, users, scaled, self._options.think_s, published, seed=1)
                task = self._bar.add_task(f"load, {pool}, {users} users", total=scaled)

                def advance(passed_s: float, task: Any = task) -> None:
                    self._bar.advance(task, passed_s)

                self.found.loads.append(run_load(plan, embedder, advance))

    def close(self) -> None:
        """Close the files of vectors."""
        for vectors in self._vectors.values():
            vectors.close()

    def _ways(self) -> list[Way | None]:
        """Give the ways to ask a stream, those first that users begin with."""
        ours = [Way(target, admits_all) for admits_all in (False, True) for target in TARGETS]
        return [*ours, None]

    def _asked(self, drawn: Stream, way: Way | None) -> list[Tally]:
        """Ask a stream in one way; what an earlier run has asked is taken from there."""
        vectors = self._kept(self._options.embedder)
        where = f"{drawn.name} {drawn.seed}"
        vectors.learn((r.text for r in drawn.requests), self._steps(f"{where}: embedding"))
        if way is None:
            steps = self._steps(f"{where}: rules of others")
            ask_rules = functools.partial(apply_rules, drawn, vectors, track=steps)
            return self._once(drawn, ("rules",), ask_rules)
        target, admits_all = way
        pause_ms = self._options.pause_ms
        ask = functools.partial(
            ask_stream,
            drawn,
            vectors,
            target=target,
            track=self._steps(f"{where}: {US}, {target:.0%}{', admits all' * admits_all}"),
            pause_s=None if pause_ms is None else pause_ms / 1e3,
            admits_all=admits_all,
        )
        return self._once(drawn, (target, admits_all), ask)

    def _once(
        self, drawn: Stream, what: tuple[object, ...], ask: Callable[[], Tally | list[Tally]]
    ) -> list[Tally]:
        key = (drawn.data, drawn.kind, drawn.seed, len(drawn.requests), *what)
        tallies = self._journal.get(key)
        if tallies is None:
            asked = ask()
            tallies = asked if isinstance(asked, list) else [asked]
            self._journal.put(key, tallies)
        return tallies

    def _kept(self, name: str) -> KeptVectors:
        if name not in self._vectors:
            self._vectors[name] = KeptVectors(_embedder(name), self._options.vectors)
        return self._vectors[name]

    def _steps(self, what: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
        return lambda items: self._bar.track(items, description=what)


def _embedder(name: str) -> MiniLMEmbedder | StaticEmbedder:
    return MiniLMEmbedder() if name == "minilm" else StaticEmbedder()


def _absent() -> dict[str, str]:
    absent = {}
    if missing := gptcache_peer.missing():
        absent["GPTCache get()"] = f"{missing} is not installed"
    if optional(pairs.FOW) is None:
        absent["fow-cache pairs"] = "fow-cache is not installed"
    return absent


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(
        "cache",
        __doc__,
        epilog="A whole run takes about 45 minutes on two cores, twelve of them for the users and "
        "25 for the streams; the first one some minutes more, for vectors. "
        "--only streams --seeds 1 takes eight.",
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART",
        help=f"parts to run, of {', '.join(PARTS)} (all, blind only if --blind is given)",
    )  # fmt: skip
    parser.add_argument(
        "--blind", type=Path, metavar="DIR", help="folder with data that is not shipped"
    )
    parser.add_argument("--questions", type=int, help="a stream's length (8000)")
    parser.add_argument("--seeds", type=int, help="streams of each set and kind (3)")
    parser.add_argument(
        "--pause-ms",
        type=float,
        metavar="MS",
        help="time between the requests of a stream, in which the cache learns beside (none: wait "
        "until it has). At 0 it has to keep up with up to a thousand requests a second",
    )
    parser.add_argument("--entries", type=int, help="answers in the cache that is timed (10000)")
    parser.add_argument(
        "--embedder",
        choices=("minilm", "static"),
        default="minilm",
        help="for streams, pairs and load: the cache's default, or the static one, which is a "
        "hundred times faster and tells questions apart less well (minilm). Latency takes both",
    )
    parser.add_argument(
        "--load-scale",
        type=float,
        metavar="F",
        help="the load test's times, 60 s and 300 s, are multiplied by this (1)",
    )
    parser.add_argument(
        "--think-s",
        type=float,
        metavar="S",
        help="mean time from an answer to the same user's next question (1)",
    )
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="DIR",
        default=default_folder(),
        help="where vectors and finished streams are kept (the user's cache folder)",
    )
    add_telling(parser, "cache", drawings="the drawings")
    options = parsed(
        parser,
        argv,
        whole={"questions": 8000, "seeds": 3, "entries": 10_000, "load_scale": 1.0, "think_s": 1.0},
        quick={"questions": 100, "seeds": 1, "entries": 150, "load_scale": 1 / 300, "think_s": 0.1},
    )
    if options.only is None:
        options.only = [part for part in PARTS if part != "blind" or options.blind is not None]
    if "blind" in options.only and options.blind is None:
        parser.error("--only blind needs --blind DIR")
    return options


def _show(about: dict[str, Any], document: dict[str, Any], found: Findings) -> None:
    """Print the tables, the goals last."""
    console = Console()
    console.width = max(console.width, 120)
    console.print(f"{about['cpu']}, {about['cores']} cores, load {about['load']}")
    for who, why in document["absent"].items():
        console.print(f"without {who}: {why}")
    for drawn in found.streams + found.blind_streams:
        console.print(
            f"{drawn.data} {drawn.kind} {drawn.seed}: {drawn.requests:,} requests, "
            f"{drawn.repeated_share:.1%} repeat a text, {drawn.possible_share:.1%} an intent"
        )
    for table in report(found):
        console.print(table)
    console.print(goal_table(goals(found)))
    if document["void"]:
        console.print("[bold]--quick: every figure above is void[/bold]")
