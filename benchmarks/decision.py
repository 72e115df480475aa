"""How often does the cache answer, and how often wrongly?

Each question of a labelled set is asked once, so that no exact repeat helps: the hard case. A hit
is wrong when the stored question it was answered for has another intent. Intents stand for answers:
the mock model names the intent's article in one of three wordings, drawn at each call.

Beside PrismCache at three targets run its strict mode, plain cosine thresholds with the same
embedder and a dict of exact texts. Rates are shares of all questions.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

import intents
from prism.cache import PrismCache
from prismresonance.embed import MiniLMEmbedder

RESULTS = Path(__file__).parent / "results"
CACHES: dict[str, dict[str, Any]] = {
    "PrismCache, max_error 1 % (default)": {},
    "PrismCache, max_error 2 %": {"max_error": 0.02},
    "PrismCache, max_error 5 %": {"max_error": 0.05},
    "PrismCache, strict": {"strict": True},
    "cosine >= .90": {"similarity_threshold": 0.90},
    "cosine >= .80": {"similarity_threshold": 0.80},
}
# A model words its answers anew; what stays is what they are about.
WORDINGS = (
    "Please see article {number} of our help pages, which is about: {topic}.",
    "Our help pages have an article on that ({topic}): number {number}.",
    "For {topic}, article {number} of our help pages tells you what to do.",
)


@dataclass(frozen=True)
class Result:
    """One row: shares of all questions."""

    data: str
    cache: str
    seed: int
    questions: int
    hit_rate: float
    wrong_rate: float


class Remembered:
    """Embeds every text of the streams once, so that all caches share the work."""

    def __init__(self, texts: Sequence[str], console: Console) -> None:
        embedder = MiniLMEmbedder()
        self.model_id, self.dim = embedder.model_id, embedder.dim
        self._rows: dict[str, npt.NDArray[np.float32]] = {}
        for start in track(range(0, len(texts), 256), "embedding", console=console):
            batch = texts[start : start + 256]
            self._rows.update(zip(batch, embedder.embed(batch), strict=True))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Look the rows up."""
        return np.stack([self._rows[text] for text in texts])


def article(intent: str) -> int:
    """Give the number of the article that answers an intent."""
    return 1_000_000 + zlib.crc32(intent.encode()) % 9_000_000


def ask_all(
    questions: Iterable[tuple[str, str]], count: int, ask: Callable[[str, str], str]
) -> tuple[float, float]:
    """Ask every question; give the shares of hits and of wrong hits."""
    hits = wrong = 0
    for question, intent in questions:
        answer = ask(question, intent)
        if not answer.startswith("called: "):
            hits += 1
            wrong += str(article(intent)) not in answer
    return hits / count, wrong / count


def through_cache(
    settings: dict[str, Any], embedder: Remembered, seed: int
) -> Callable[[str, str], str]:
    """Give a way to ask through a new cache; a call tells that it was one."""
    cache = PrismCache.build("benchmark", "gpt-4o", embedder=embedder, **settings)
    rng = random.Random(seed)

    def ask(question: str, intent: str) -> str:
        called = False

        def call() -> str:
            nonlocal called
            called = True
            return rng.choice(WORDINGS).format(
                topic=intent.replace("_", " "), number=article(intent)
            )

        answer = cache.get_or_call(question, call)
        return f"called: {answer}" if called else answer

    return ask


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="hatch run bench decision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--questions", type=int, default=8000, help="a stream's length (8000)")
    parser.add_argument("--seeds", type=int, default=3, help="streams of each set (3)")
    parser.add_argument(
        "--save", action="store_true", help="write results/decision.json, as it is committed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(argv)
    console = Console(stderr=True)

    results: list[Result] = []
    for name in intents.SETS:
        streams = {
            seed: intents.stream(name, seed=seed, length=options.questions)
            for seed in range(1, options.seeds + 1)
        }
        texts = sorted({text for questions in streams.values() for text, _ in questions})
        embedder = Remembered(texts, console)
        for seed, questions in streams.items():
            for label, settings in CACHES.items():
                ask = through_cache(settings, embedder, seed)
                asked = track(questions, f"{name} {seed}: {label}", console=console)
                rates = ask_all(asked, len(questions), ask)
                results.append(Result(name, label, seed, len(questions), *rates))
            results.append(Result(name, "dict of exact texts", seed, len(questions), 0.0, 0.0))

    document = {
        "command": "hatch run bench decision --save",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "options": vars(options),
        "results": [asdict(result) for result in results],
    }
    if options.save:
        (RESULTS / "decision.json").write_text(json.dumps(document, indent=1) + "\n")
    if options.json:
        print(json.dumps(document))
    else:
        Console().print(_table(results))
    return 0


def _table(results: Sequence[Result]) -> Table:
    table = Table(title="each text asked once; mean over the seeds (worst seed)")
    table.add_column("rule")
    for name in intents.SETS:
        table.add_column(f"{name}\nanswered", justify="right")
        table.add_column("\nwrong", justify="right")
    for label in dict.fromkeys(result.cache for result in results):
        row = [label]
        for name in intents.SETS:
            ours = [r for r in results if (r.data, r.cache) == (name, label)]
            hit = sum(r.hit_rate for r in ours) / len(ours)
            wrong = sum(r.wrong_rate for r in ours) / len(ours)
            row += [f"{hit:.1%}", f"{wrong:.2%} ({max(r.wrong_rate for r in ours):.2%})"]
        table.add_row(*row)
    return table
