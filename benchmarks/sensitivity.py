"""How much do the figures hang on each constant of the cache? Each is halved and doubled in turn.

  simulated  seeded streams of made-up traffic (those of the package's tests): hits, mean error as a
             share of the target, share of the streams that end above it
  streams    the first requests of BANKING77 and CLINC150, every text once: hits and wrong answers

How to read it: the first line is the cache as it is. A constant that matters little in both
directions needed no tuning; one that gains hits at twice its value costs errors, or it would stand
there. Differences of some hundredths of the hits are chance. The target is 1 %. A run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

import intents
import machine
from answering.asking import ask_stream
from answering.kept import Journal
from answering.streams import ONCE, stream
from answering.vectors import KeptVectors, default_folder
from goal import plain_table
from prism.cache import ADMISSION_RULES, _evidence, _verdict
from prism.cache._admission.rule import Gate
from prism.cache._scope import Scope
from prismresonance.embed import MiniLMEmbedder

RESULTS = Path(__file__).parent / "results" / "sensitivity.json"
SUPPORT = Path(__file__).parents[1] / "packages" / "prismlib-cache" / "tests" / "support"
TARGET, SHADOW = 0.01, 0.015
CALIBRATOR, WEIGHTS, DRIFT = (
    f"prism.cache._calibration.{name}" for name in ("calibrator", "weights", "drift")
)
# Module and name.
CONSTANTS = (
    (CALIBRATOR, "_DEVIATIONS"),
    (CALIBRATOR, "_OVERLOOKED"),
    (CALIBRATOR, "_PRIOR_LABELS"),
    (CALIBRATOR, "_TRUSTED_LABELS"),
    (CALIBRATOR, "_REFUTING"),
    (CALIBRATOR, "_REFUTED"),
    (CALIBRATOR, "_REMEMBERED"),
    (CALIBRATOR, "_LABELS_IN_RANGE"),
    (CALIBRATOR, "_LEAST_TO_FIT"),
    (CALIBRATOR, "_NEWS"),
    (CALIBRATOR, "_YOUNG_CHECKS"),
    (CALIBRATOR, "_CHECKS_HALVE_AFTER"),
    (WEIGHTS, "_PENALTY"),
    (DRIFT, "_HEIGHT"),
    ("prism.cache._evidence", "GAP_CAP"),
    ("prism.cache._evidence", "_WIDE"),
    ("prism.cache._evidence", "_NEAREST"),
    ("prism.cache._shelf", "CANDIDATES"),
    ("prism.cache._verdict", "_GROUPS"),
    ("prism.cache._verdict", "_OF_A_GROUP"),
)
# Of the common rule, in the units of the cosine.
CAREFUL = ("lead", "answer lead", "doubt")
ADMISSION = (
    ("prism.cache._admission.actions", "_NEAR"),
    ("prism.cache._admission.actions", "_FAR"),
    ("prism.cache._admission.freshness", "_NEAR"),
    ("prism.cache._admission.follow_ups", "_LONGEST"),
    ("prism.cache._admission.reading", "_LONG_TEXT"),
    ("prism.cache._admission.reading", "_MANY_LINES"),
)


@dataclass(frozen=True)
class Sensed:
    """What became of the figures.

    Attributes:
        constant: Which one.
        value: What it was set to.
        hits: Mean share of the simulated requests.
        error: Mean share of wrong answers in the simulation, over the target.
        above: Share of the simulated streams above the target.
        streams: Hits and wrong answers of each real stream.
    """

    constant: str
    value: float
    hits: float
    error: float
    above: float
    streams: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Refused:
    """Share of the texts that the default rules hold back, by data set."""

    constant: str
    value: float
    shares: dict[str, float]


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    options = _options(argv)
    sys.path.append(str(SUPPORT))
    vectors = KeptVectors(MiniLMEmbedder(), options.vectors)
    streams = {name: stream(name, ONCE, seed=1, length=options.questions) for name in intents.SETS}
    settings = list(_settings())
    size = {"simulated": options.simulated, "questions": options.questions}
    journal = Journal(options.vectors / "sensitivity.jsonl", Sensed, size)
    with Progress(console=Console(stderr=True)) as bar, contextlib.closing(vectors):
        task = bar.add_task("learning vectors", total=len(settings))
        for drawn in streams.values():
            vectors.learn(request.text for request in drawn.requests)
        sensed: list[Sensed] = []
        for constant, value, changed in settings:
            bar.update(task, description=f"{constant} = {value:g}")
            known = journal.get((constant, value))
            if known is not None:
                sensed += known
                bar.advance(task)
                continue
            shadow = value if constant == "shadow" else SHADOW
            with changed():
                outcomes = _simulated(options.simulated, shadow)
                shares = {
                    name: (tally.hit_share, tally.wrong_share)
                    for name, drawn in streams.items()
                    for tally in [
                        ask_stream(
                            drawn, vectors, target=TARGET, track=iter, pause_s=None, shadow=shadow
                        )
                    ]
                }
            errors = [outcome.wrong / TARGET for outcome in outcomes]
            sensed.append(
                Sensed(
                    constant,
                    value,
                    mean(outcome.hits for outcome in outcomes),
                    mean(errors),
                    mean(error > 1 for error in errors),
                    shares,
                )
            )
            journal.put((constant, value), sensed[-1:])
            bar.advance(task)
        refused = list(_refusals())
    document = {
        "command": "hatch run bench sensitivity",
        **machine.facts(("prismlib-cache", "numpy")),
        "options": size,
        "constants": [asdict(row) for row in sensed],
        "admission": [asdict(row) for row in refused],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=1) + "\n")
    _show(sensed, refused)
    return 0


def _settings() -> Iterator[tuple[str, float, Callable[[], Any]]]:
    """Give each constant with a value and what sets it for a while."""
    yield "as it is", 0.0, contextlib.nullcontext
    for module, name in CONSTANTS:
        value = getattr(import_module(module), name)
        label = f"{module.rpartition('.')[2]}.{name}"
        for changed in _halved_and_doubled(value):
            yield label, changed, functools.partial(_set, module, name, changed)
    for kind in CAREFUL:
        own = next(one for one in _evidence.KINDS if one.name == kind)
        for changed in _halved_and_doubled(own.careful):
            yield f"weight of {kind}", changed, functools.partial(_weighed, own, changed)
    for changed in _halved_and_doubled(SHADOW):
        yield "shadow", changed, contextlib.nullcontext


def _halved_and_doubled(value: float) -> tuple[float, float]:
    if isinstance(value, int):
        return max(1, value // 2), 2 * value
    return value / 2, 2 * value


@contextlib.contextmanager
def _set(module: str, name: str, value: float) -> Iterator[None]:
    """Set a constant in its module, and where it was imported from there."""
    holders = [import_module(module)]
    if module == _evidence.__name__ and hasattr(_verdict, name):
        holders.append(_verdict)
    before = getattr(holders[0], name)
    # The evidence keeps measures that were made with the cap.
    kinds = {kind.name: kind for kind in _evidence.KINDS}
    caps = {"lead": 1.0, "wide lead": 2.5} if name == "GAP_CAP" else {}
    measures = {kind: kinds[kind].measure for kind in caps}
    for holder in holders:
        setattr(holder, name, value)
    for kind, factor in caps.items():
        object.__setattr__(kinds[kind], "measure", _evidence._lead(factor * value))
    try:
        yield
    finally:
        for holder in holders:
            setattr(holder, name, before)
        for kind, measured in measures.items():
            object.__setattr__(kinds[kind], "measure", measured)


@contextlib.contextmanager
def _weighed(kind: _evidence.Kind, careful: float) -> Iterator[None]:
    """Give a kind of evidence another weight in the common rule."""
    before = kind.careful
    _weigh(kind, careful)
    try:
        yield
    finally:
        _weigh(kind, before)


def _weigh(kind: _evidence.Kind, careful: float) -> None:
    object.__setattr__(kind, "careful", careful)
    _verdict._CAREFUL = _evidence.careful_weights()
    # The verdict has the weights that it reckons with first under names of their own.
    if kind.name in ("cosine", "lead", "answer lead"):
        setattr(_verdict, f"_{kind.name.upper().replace(' ', '_')}", careful)


def _simulated(count: int, shadow: float) -> list[Any]:
    made: Any = import_module("streams")
    return [
        made.ask_all(
            made.random_traffic(np.random.default_rng(10_000 + seed), drifts=False),
            seed,
            max_error=TARGET,
            check_share=shadow,
        )
        for seed in range(count)
    ]


def _refusals() -> Iterator[Refused]:
    gate, scope = Gate(ADMISSION_RULES), Scope(tenant_id="bench", model="none")
    texts = {name: [text for text, _ in intents.labelled(name)] for name in intents.SETS}

    def shares() -> dict[str, float]:
        return {
            name: mean(gate.holding(text, scope, failed=_raise) is not None for text in own)
            for name, own in texts.items()
        }

    yield Refused("as it is", 0.0, shares())
    for module, name in ADMISSION:
        for value in _halved_and_doubled(getattr(import_module(module), name)):
            with _set(module, name, value):
                import_module("prism.cache._admission.reading").read.cache_clear()
                yield Refused(f"{module.rpartition('.')[2]}.{name}", value, shares())
    import_module("prism.cache._admission.reading").read.cache_clear()


def _raise(error: Exception) -> None:
    raise error


def _show(sensed: Sequence[Sensed], refused: Sequence[Refused]) -> None:
    console = Console()
    console.width = max(console.width, 120)
    names = list(sensed[0].streams)
    columns = [f"{name[:7]}\n{what}" for name in names for what in ("hits", "wrong")]
    table = plain_table(
        "max_error 1 %",
        ["constant"],
        ["value", "made up:\nhits", "error /\ntarget", "streams\nabove", *columns],
    )
    for row in sensed:
        figures = [f"{share:.{2 + place}%}" for pair in row.streams.values()
                   for place, share in enumerate(pair)]  # fmt: skip
        table.add_row(
            row.constant,
            f"{row.value:g}",
            f"{row.hits:.1%}",
            f"{row.error:.2f}",
            f"{row.above:.0%}",
            *figures,
        )
    console.print(table)
    table = plain_table("held back", ["constant"], ["value", *names])
    for one in refused:
        shares = [f"{share:.2%}" for share in one.shares.values()]
        table.add_row(one.constant, f"{one.value:g}", *shares)
    console.print(table)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hatch run bench sensitivity",
        description=__doc__,
        epilog="Takes about half an hour on two cores; --simulated 4 --questions 200 takes one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--simulated", type=int, default=24, help="made-up streams (24)")
    parser.add_argument("--questions", type=int, default=3000, help="a real stream's length (3000)")
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="DIR",
        default=default_folder(),
        help="where vectors are kept (the user's cache folder)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", default=RESULTS, help=f"the JSON ({RESULTS.name})"
    )
    return parser.parse_args(argv)
