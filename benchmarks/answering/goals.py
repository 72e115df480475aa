"""The goals beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean

from answering import latency
from answering.asking import TARGETS, US
from answering.blind import Admitted
from answering.faq import ColdFaq
from answering.latency import Latency
from answering.load import FAQ, Load
from answering.pairs import QUESTIONS, Served
from answering.streams import ONCE, ZIPF, Described
from answering.tally import Tally
from answering.threads import Throughput
from goal import Goal

MINILM, STATIC = "minilm", "wordllama"
# At the first target, of every seed.
LEAST_HITS = {
    ("banking77", ONCE): 0.42,
    ("clinc150", ONCE): 0.36,
    ("banking77", ZIPF): 0.72,
    ("clinc150", ZIPF): 0.84,
}
MOST_TRAPS, LEAST_SAME = 0.10, 0.50
# What, by whose vectors, microseconds.
MOST_US = (
    (latency.EXACT, MINILM, 20),
    (latency.DECISION, MINILM, 300),
    (latency.EMBEDDED, MINILM, 10_000),
    (latency.MISS, MINILM, 12_000),
    (latency.MISS, STATIC, 1_000),
)
# Many threads to one.
NO_LOSS = 1.0


@dataclass
class Findings:
    """All that a run measured; what was left out is empty."""

    streams: list[Described] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    blind_streams: list[Described] = field(default_factory=list)
    blind_tallies: list[Tally] = field(default_factory=list)
    admitted: list[Admitted] = field(default_factory=list)
    pairs: list[Served] = field(default_factory=list)
    faq: ColdFaq | None = None
    latencies: list[Latency] = field(default_factory=list)
    throughput: Throughput | None = None
    loads: list[Load] = field(default_factory=list)


def goals(found: Findings) -> list[Goal]:
    """Compare what was measured with what it should be."""
    return [
        *_error_goals(found.tallies, ""),
        *_error_goals(found.blind_tallies, "blind, "),
        *_hit_goals(found.tallies, found.streams),
        *_pair_goals(found.pairs),
        *_faq_goals(found.faq),
        *_latency_goals(found.latencies),
        *_throughput_goals(found.throughput),
        *_load_goals(found.loads),
    ]


def _error_goals(tallies: Sequence[Tally], where: str) -> Iterator[Goal]:
    for target in TARGETS:
        runs = [tally for tally in tallies if (tally.who, tally.target) == (US, target)]
        if not runs:
            continue
        worst = max(runs, key=lambda tally: tally.wrong_share)
        over = sum(tally.wrong_share > target for tally in runs)
        yield Goal(
            f"{where}wrong answers at max_error {target:.0%}, every stream",
            f"<= {target:.2%} of requests",
            f"worst {worst.wrong_share:.2%} ({worst.data} {worst.kind}, seed {worst.seed}"
            f"{', admits all' * worst.admits_all}); "
            f"{over} of {len(runs)} streams above",
            over == 0,
        )


def _hit_goals(tallies: Sequence[Tally], streams: Sequence[Described]) -> Iterator[Goal]:
    for (data, kind), least in LEAST_HITS.items():
        possible = [s.possible_share for s in streams if (s.data, s.kind) == (data, kind)]
        for admits_all in (False, True):
            runs = [
                tally
                for tally in tallies
                if (tally.data, tally.kind, tally.target) == (data, kind, TARGETS[0])
                and tally.admits_all == admits_all
            ]
            if not runs:
                continue
            shares = [tally.hit_share for tally in runs]
            refused = mean((tally.metrics or {})["refused"] / tally.requests for tally in runs)
            yield Goal(
                f"hits of {data} {kind} at max_error {TARGETS[0]:.0%}{', admits all' * admits_all}",
                f">= {least:.2f}, every seed",
                f"{', '.join(f'{share:.3f}' for share in shares)} of {mean(possible):.3f} possible"
                + f"; {refused:.1%} refused" * (not admits_all),
                min(shares) >= least,
            )


def _pair_goals(pairs: Sequence[Served]) -> Iterator[Goal]:
    for served in pairs:
        if (served.pairs, served.who) == (QUESTIONS, US):
            yield Goal(
                "fow-cache: traps served, default settings",
                f"<= {MOST_TRAPS:.2f}",
                f"{served.traps:.3f}",
                served.traps <= MOST_TRAPS,
            )
            yield Goal(
                "fow-cache: pairs with one answer served, default settings",
                f">= {LEAST_SAME:.2f}",
                f"{served.same:.3f}",
                served.same >= LEAST_SAME,
            )


def _faq_goals(faq: ColdFaq | None) -> Iterator[Goal]:
    if faq is None:
        return
    yield Goal(
        f"the password pair in a cold FAQ of {faq.entries}",
        "hit",
        "hit" if faq.password_pair_hits else "miss",
        faq.password_pair_hits,
    )
    yield Goal(
        "the FAQ's questions served with another answer",
        "none",
        f"{faq.wrong:.1%}, and {faq.absent_served:.1%} while their own was absent",
        not faq.wrong and not faq.absent_served,
    )


def _latency_goals(latencies: Sequence[Latency]) -> Iterator[Goal]:
    for what, model, most_us in MOST_US:
        for row in latencies:
            if row.what == what and row.model_id.startswith(model):
                median_us = row.timing.median_us
                yield Goal(
                    f"{what}, {model}, {row.entries:,} entries, one core, median",
                    f"<= {most_us:,} us",
                    f"{median_us:,.0f} us (CPU {row.timing.cpu_us:,.0f})",
                    median_us <= most_us,
                )


def _throughput_goals(found: Throughput | None) -> Iterator[Goal]:
    if found is not None:
        yield Goal(
            f"exact hits a second, {found.threads} threads to one",
            "no loss",
            f"{found.ratio:.2f} ({found.many:,.0f} to {found.one:,.0f})",
            found.ratio >= NO_LOSS,
        )


def _load_goals(loads: Sequence[Load]) -> Iterator[Goal]:
    for load in loads:
        plan = load.plan
        # What was published was of questions that repeat, as those of the FAQ do.
        repeats = plan.pool == FAQ
        yield Goal(
            f"load: {plan.users} users, {plan.seconds:.3g} s, {plan.pool}: hit rate",
            f"{plan.published:.1%}" if repeats else f"({plan.published:.1%} of other questions)",
            f"{load.hit_rate:.1%}, a dict {load.dict_rate:.1%}, wrong {load.wrong_rate:.2%}",
            load.hit_rate >= plan.published if repeats else None,
        )
