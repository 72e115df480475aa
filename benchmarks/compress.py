"""Does compression keep the sentence that answers? Beside whole chunks, BM25 and chance.

Each question of SQuAD 2.0 that has an answer is asked of ten paragraphs in random order: the one
that answers and the nine nearest to it, which speak of the same things. Each contestant keeps the
same share of the tokens (words and marks).

  gold     the span of the answer, where it stands in its paragraph, is in what was kept
  answer   the answer's words are somewhere in what was kept
  warm     time of one call when all ten paragraphs were seen before, as in a real corpus

  chunks   whole paragraphs by cosine, the best first, until the next would be over the budget
  bm25     sentences by plain BM25, taken while they fit
  random   sentences in random order, taken while they fit

How to read it: SQuAD's authors saw the paragraph when they asked, so questions share words with
their answers; that favours bm25 and every contestant that counts words.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

import machine
from goal import Goal, goal_table, plain_table
from prism.cluster.compress import ContextCompressor
from prismresonance.embed import Embedder, MiniLMEmbedder, StaticEmbedder

DATA = Path(__file__).parent / "data" / "squad2" / "dev-v2.0.json.gz"
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("prismlib-micro", "prismresonance", "numpy", "wordllama", "onnxruntime")
KEEPS = (0.6, 0.4, 0.2)
NEAREST = 9
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_TOKEN = re.compile(r"\w+|[^\w\s]")

Spans = list[list[tuple[int, int]]]
Contestant = Callable[["Case", float], Spans]


@dataclass(frozen=True)
class Case:
    """A question and the paragraphs it is asked of.

    Attributes:
        question: What is asked.
        chunks: The paragraphs.
        gold: Which of them answers.
        span: Where in it the answer stands.
        answers: What counts as the answer.
        cosines: Of each paragraph with the question.
        seed: For what is drawn.
    """

    question: str
    chunks: list[str]
    gold: int
    span: tuple[int, int]
    answers: list[str]
    cosines: list[float]
    seed: int


@dataclass(frozen=True)
class Line:
    """What a contestant kept of all cases."""

    contestant: str
    keep: float
    gold: float
    answer: float
    removed: float
    warm_p50_ms: float


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    console = Console(stderr=True)
    embedder: Embedder = MiniLMEmbedder() if options.embedder == "minilm" else StaticEmbedder()
    cases = list(_cases(options.questions, options.seed, embedder))
    contestants: dict[str, Contestant] = {
        "ours": _ours(embedder),
        "chunks": _whole_chunks,
        "bm25": _bm25,
        "random": _random,
    }
    lines = [
        _measured(name, keep, contestant, cases, console)
        for keep in KEEPS
        for name, contestant in contestants.items()
    ]
    sentences = statistics.fmean(
        sum(len(_SENTENCE.split(chunk)) for chunk in case.chunks) for case in cases
    )
    goals = _goals(lines, sentences)
    document = {
        "command": "hatch run bench compress",
        **machine.facts(PACKAGES),
        "options": {
            "questions": len(cases), "seed": options.seed, "embedder": options.embedder
        },
        "void": options.questions < _ALL,
        "sentences": sentences,
        "goals": [asdict(goal) for goal in goals],
        "lines": [asdict(line) for line in lines],
    }  # fmt: skip
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "compress.json").write_text(json.dumps(document, indent=1) + "\n")
    if options.json:
        print(json.dumps(document))
    else:
        _show(lines, goals, len(cases))
    return 0


_ALL = 1_500


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hatch run bench compress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--questions", type=int, default=_ALL, help="how many (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="draws questions and orders")
    parser.add_argument("--embedder", choices=("static", "minilm"), default="static")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser.parse_args(argv)


def _cases(questions: int, seed: int, embedder: Embedder) -> Iterator[Case]:
    articles = json.loads(gzip.decompress(DATA.read_bytes()))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    texts = [paragraph["context"] for paragraph in paragraphs]
    vectors = embedder.embed(texts)
    asked = [
        (at, question)
        for at, paragraph in enumerate(paragraphs)
        for question in paragraph["qas"]
        if not question["is_impossible"]
    ]
    chance = random.Random(seed)
    chance.shuffle(asked)
    for number, (at, question) in enumerate(asked[:questions]):
        near = [int(one) for one in np.argsort(-(vectors @ vectors[at])) if one != at][:NEAREST]
        order = [at, *near]
        chance.shuffle(order)
        answer = question["answers"][0]
        start = answer["answer_start"]
        vector = embedder.embed([question["question"]])[0]
        yield Case(
            question=question["question"],
            chunks=[texts[one] for one in order],
            gold=order.index(at),
            span=(start, start + len(answer["text"])),
            answers=[one["text"] for one in question["answers"]],
            cosines=[float(vectors[one] @ vector) for one in order],
            seed=number,
        )


def _measured(
    name: str, keep: float, contestant: Contestant, cases: list[Case], console: Console
) -> Line:
    gold = answer = 0
    removed, times = [], []
    for case in track(cases, f"{name}, {1 - keep:.0%} removed", console=console, transient=True):
        contestant(case, keep)  # reads the paragraphs
        start = time.perf_counter()
        spans = contestant(case, keep)
        times.append(time.perf_counter() - start)
        gold += any(
            start <= case.span[0] and case.span[1] <= end for start, end in spans[case.gold]
        )
        text = " ".join(
            case.chunks[at][start:end] for at, kept in enumerate(spans) for start, end in kept
        )
        answer += any(one.casefold() in text.casefold() for one in case.answers)
        removed.append(1 - _tokens(text) / sum(map(_tokens, case.chunks)))
    return Line(
        name, keep, gold / len(cases), answer / len(cases), statistics.fmean(removed),
        statistics.median(times) * 1e3,
    )  # fmt: skip


def _ours(embedder: Embedder) -> Contestant:
    compressors = {
        keep: ContextCompressor(keep=keep, min_tokens=0, embedder=embedder) for keep in KEEPS
    }

    def keep_ours(case: Case, keep: float) -> Spans:
        spans: Spans = [[] for _ in case.chunks]
        for chunk in compressors[keep].compress(case.question, case.chunks).chunks:
            spans[chunk.index] = [(span.start, span.end) for span in chunk.spans]
        return spans

    return keep_ours


def _whole_chunks(case: Case, keep: float) -> Spans:
    spans: Spans = [[] for _ in case.chunks]
    left = _budget(case, keep)
    for at in sorted(range(len(case.chunks)), key=lambda at: -case.cosines[at]):
        left -= _tokens(case.chunks[at])
        if left < 0:
            break
        spans[at] = [(0, len(case.chunks[at]))]
    return spans


def _bm25(case: Case, keep: float) -> Spans:
    places = list(_sentences(case))
    counts = [Counter(re.findall(r"\w+", case.chunks[at][a:b].lower())) for at, a, b in places]
    mean = statistics.fmean(count.total() for count in counts)
    scores = [0.0] * len(places)
    for word in set(re.findall(r"\w+", case.question.lower())):
        holding = sum(word in count for count in counts)
        rarity = math.log1p((len(counts) - holding + 0.5) / (holding + 0.5))
        for number, count in enumerate(counts):
            often = count[word]
            length = 1.2 * (0.25 + 0.75 * count.total() / mean)
            scores[number] += rarity * often * 2.2 / (often + length)
    order = sorted(range(len(places)), key=lambda number: -scores[number])
    return _taken(case, [places[number] for number in order], keep)


def _random(case: Case, keep: float) -> Spans:
    places = list(_sentences(case))
    random.Random(case.seed).shuffle(places)
    return _taken(case, places, keep)


def _taken(case: Case, places: list[tuple[int, int, int]], keep: float) -> Spans:
    spans: Spans = [[] for _ in case.chunks]
    left = _budget(case, keep)
    for at, start, end in places:
        cost = _tokens(case.chunks[at][start:end])
        if cost <= left:
            left -= cost
            spans[at].append((start, end))
    return spans


def _sentences(case: Case) -> Iterator[tuple[int, int, int]]:
    for at, chunk in enumerate(case.chunks):
        start = 0
        for gap in _SENTENCE.finditer(chunk):
            yield at, start, gap.start()
            start = gap.end()
        yield at, start, len(chunk)


def _budget(case: Case, keep: float) -> int:
    return math.floor(keep * sum(map(_tokens, case.chunks)))


def _tokens(text: str) -> int:
    return len(_TOKEN.findall(text))


def _goals(lines: list[Line], sentences: float) -> list[Goal]:
    found = {(line.contestant, line.keep): line for line in lines}
    at_60, at_80 = found["ours", 0.4], found["ours", 0.2]
    ms = at_60.warm_p50_ms * 60 / sentences
    return [
        Goal("gold kept at 60 % removed", ">= 97 %", f"{at_60.gold:.1%}", at_60.gold >= 0.97),
        Goal("gold kept at 80 % removed", ">= 95 %", f"{at_80.gold:.1%}", at_80.gold >= 0.95),
        Goal("warm, for 60 sentences", "<= 5 ms", f"{ms:.2f} ms", ms <= 5),
    ]


def _show(lines: list[Line], goals: list[Goal], questions: int) -> None:
    table = plain_table(
        f"{questions} questions of SQuAD 2.0, ten paragraphs each",
        ["removed", "contestant"],
        ["gold kept", "answer kept", "really removed", "warm ms"],
    )
    for line in lines:
        table.add_row(
            f"{1 - line.keep:.0%}", line.contestant, f"{line.gold:.1%}", f"{line.answer:.1%}",
            f"{line.removed:.1%}", f"{line.warm_p50_ms:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(goal_table(goals))
