"""Proof by simulation that the gate of users may be asked at any time, and that requests mislead.

    python -m loadtests.simulate_ab              a minute; writes results/simulate_ab.*
    python -m loadtests.simulate_ab --runs 200   a look

Customers differ: some are hard to answer rightly, and a few send hundreds of requests. The gate's
own evidence is computed on seeded streams of them, with a look after every 25 of each group. Beside
it stand two rules that most would write: promote when the lower 95 % bound of the difference passes
the margin, of customers or, as most tools do, of requests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

import loadtests.template  # noqa: F401  # for the imports from a service
from loadtests import outcome
from loadtests.simulate_gate import BAD, ever, median
from tools.shadow.statistics import Array, log_e_mean_above, log_e_mean_below
from tools.shadow.words import percent
from training.figures import MAIN, MUTED, OTHER, styled_file

LOOK, MOST, SEED = 25, 3_000, 0  # customers of each group
ALPHA, Z = 0.05, 1.645
WAYS_TO_FAIL = 3  # labels, errors and latency
MARGIN = 0.02
NAIVE_FROM = 100
RUNS = 2_000
SOON = 1_500
LOOKS = np.arange(LOOK, MOST + 1, LOOK)
# Of each customer: the chance of a right answer, and the tail of how many requests it sends.
EASY, HARD, SHARE_HARD = 0.98, 0.7, 0.15
TAIL, MOST_REQUESTS = 1.2, 300


@dataclass(frozen=True)
class Run:
    """Many experiments alike: at how many customers each was promoted, rejected, and promoted by
    the naive rules; inf for never."""

    name: str
    promoted: Array
    rejected: Array
    by_customers: Array
    by_requests: Array


def simulate(runs: int) -> list[Run]:
    """Return candidates exactly at the margin, equal ones, good ones, and bad ones."""
    return [
        experiment(f"exactly {percent(MARGIN)} worse", -MARGIN, runs),
        experiment("equal", 0.0, runs),
        experiment("good: 1% better", 0.01, runs),
        experiment("bad: 6% worse", -0.06, runs),
    ]


def experiment(name: str, effect: float, runs: int) -> Run:
    """Simulate candidates whose answers are right by so much more often, with any customer."""
    rng = np.random.default_rng(SEED)
    decided = [_one(rng, effect) for _ in range(runs)]
    return Run(name, *np.array(decided).T)


def _one(rng: np.random.Generator, effect: float) -> list[float]:
    ours, theirs = _customers(rng, effect), _customers(rng, 0.0)
    differences = ours[0] / ours[1] - theirs[0] / theirs[1]
    above = log_e_mean_above(differences, -MARGIN)[LOOKS - 1]
    below = log_e_mean_below(differences, -MARGIN)[LOOKS - 1]
    mean = differences.cumsum()[LOOKS - 1] / LOOKS
    square = (differences**2).cumsum()[LOOKS - 1] / LOOKS
    by_customers = mean - Z * np.sqrt((square - mean**2) / LOOKS)
    shares, deviation = [], 0.0
    for right, requests in (ours, theirs):
        n = requests.cumsum()[LOOKS - 1]
        share = right.cumsum()[LOOKS - 1] / n
        shares.append(share)
        deviation = deviation + share * (1 - share) / n
    by_requests = shares[0] - shares[1] - Z * np.sqrt(deviation)
    late = LOOKS >= NAIVE_FROM
    return [
        _first(above >= -log(ALPHA)),
        _first(below >= -log(ALPHA / WAYS_TO_FAIL)),
        _first((by_customers >= -MARGIN) & late),
        _first((by_requests >= -MARGIN) & late),
    ]


def _customers(rng: np.random.Generator, effect: float) -> tuple[Array, Array]:
    """Return of each customer: right answers, and requests."""
    chance = np.where(rng.random(MOST) < SHARE_HARD, HARD, EASY) + effect
    requests = np.minimum(rng.zipf(TAIL + 1, MOST), MOST_REQUESTS)
    return rng.binomial(requests, np.minimum(chance, 1.0)), requests


def _first(crossed: Array) -> float:
    return float(LOOKS[crossed.argmax()]) if crossed.any() else inf


def judge(found: list[Run]) -> list[str]:
    """Return what of the promises is broken."""
    exactly, equal, good, bad = found
    failures = []
    for what, at in (("promoted", exactly.promoted), ("rejected", exactly.rejected)):
        if ever(at) > ALPHA:
            failures.append(f"{percent(ever(at))} are {what} at the margin")
    for rule, at in (("customers", exactly.by_customers), ("requests", exactly.by_requests)):
        if ever(at) <= 3 * ALPHA:
            failures.append(f"the naive rule of {rule} would do")
    for run, at in ((equal, equal.rejected), (good, good.rejected), (bad, bad.promoted)):
        if ever(at) > ALPHA:
            failures.append(f"{run.name}: {percent(ever(at))} are decided wrongly")
    for run, at in ((good, good.promoted), (bad, bad.rejected)):
        if (median(at) or inf) > SOON:
            failures.append(f"{run.name} is not decided by {SOON:,} customers")
    return failures


def write(folder: Path, runs: int, found: list[Run]) -> int:
    lines = [
        f"At most {percent(MARGIN)} worse is asked for. {runs:,} runs each, a look every {LOOK} "
        f"customers of each group up to {MOST:,}.",
        "",
        "| truth | promoted | at customers | rejected | at customers "
        "| promoted by a bound of customers | of requests |",
        "|---|---|---|---|---|---|---|",
    ]
    document = []
    for run in found:
        cells = [run.name]
        for at in (run.promoted, run.rejected):
            middle = median(at)
            cells += [percent(ever(at)), "" if middle is None else f"{middle:,.0f}"]
        cells += [percent(ever(run.by_customers)), percent(ever(run.by_requests))]
        lines.append(f"| {' | '.join(cells)} |")
        sides = {
            "promoted": run.promoted,
            "rejected": run.rejected,
            "by_customers": run.by_customers,
            "by_requests": run.by_requests,
        }
        shares = {name: ever(at) for name, at in sides.items()}
        medians = {f"{name}_at_customers": median(at) for name, at in sides.items()}
        document.append({"truth": run.name, **shares, **medians})
    return outcome.leave(
        folder,
        "simulate_ab",
        lines,
        {"runs": runs, "candidates": document},
        failures=judge(found),
        kept=f"of candidates exactly at the margin at most {percent(ALPHA)} are promoted, or "
        f"rejected; clear cases are decided by {SOON:,} customers of each group in the median.",
        options="" if runs == RUNS else f"--runs {runs}",
    )


@styled_file
def draw(file: Path, found: list[Run]) -> None:
    exactly, _, good, bad = found
    figure = Figure(figsize=(10, 3.4), dpi=150, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    left.plot(LOOKS, by_then(exactly.by_requests), color=BAD, label="a 95% bound of requests")
    left.plot(LOOKS, by_then(exactly.by_customers), color=OTHER, label="a 95% bound of customers")
    left.plot(LOOKS, by_then(exactly.promoted), color=MAIN, label="the gate")
    left.axhline(ALPHA, color=MUTED, linestyle=":", label=f"allowed: {percent(ALPHA)}")
    left.set(title=f"truly {exactly.name}: promoted, which is wrong", ylim=(0, 0.8))
    right.plot(LOOKS, by_then(good.promoted), color=MAIN, label=f"{good.name}: promoted")
    right.plot(LOOKS, by_then(bad.rejected), color=BAD, label=f"{bad.name}: rejected")
    right.axhline(0.5, color=MUTED, linestyle=":", label="median")
    right.set(title="clear cases: decided, rightly", ylim=(0, 1.02))
    for axes in (left, right):
        axes.set(xlabel="customers of each group", ylabel="share of runs", xlim=(0, MOST))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="upper left" if axes is left else "lower right")
    figure.savefig(file)


def by_then(at: Array) -> Array:
    """Return at each look what share of the runs had decided by then."""
    share: Array = (at[:, None] <= LOOKS).mean(axis=0)
    return share


def main(arguments: Sequence[str] | None = None) -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args(arguments)
    found = simulate(given.runs)
    status = write(given.out, given.runs, found)
    draw(given.out / "simulate_ab.png", found)
    return status


if __name__ == "__main__":
    sys.exit(main())
