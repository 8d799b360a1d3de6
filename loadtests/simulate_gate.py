"""Proof by simulation that the gate may be asked after every pair, and what that costs.

    python -m loadtests.simulate_gate              10 seconds; writes results/simulate_gate.*
    python -m loadtests.simulate_gate --runs 200   a look

The gate's own evidence is computed on seeded streams of pairs, with a look after every 25. Beside
it stands the rule that most would write: promote when the lower 95 % bound passes the threshold.
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
from tools.shadow.statistics import (
    Array,
    log_e_above,
    log_e_below,
    log_e_not_worse,
    log_e_worse,
)
from tools.shadow.words import percent
from training.figures import MAIN, MUTED, OTHER, styled_file
from training.intervals import wilson

LOOK, MOST, SEED = 25, 5_000, 0
ALPHA, Z = 0.05, 1.645
NAIVE_FROM = 200  # pairs: even who knows no better would not decide on fewer
AGREEMENT, MARGIN = 0.99, 0.01
RUNS = 2_000
SOON = 1_000  # pairs, by which clear cases are to be decided, in the median
LOOKS = np.arange(LOOK, MOST + 1, LOOK)
BAD = "#b3372f"


@dataclass(frozen=True)
class Run:
    """Many candidates alike: at how many pairs each was promoted, rejected, and promoted by the
    naive rule; inf for never."""

    name: str
    promoted: Array
    rejected: Array
    naive: Array


def agreement(name: str, share: float, runs: int) -> Run:
    """Simulate candidates that truly agree in `share` of pairs; AGREEMENT is asked for."""
    bad = np.random.default_rng(SEED).binomial(LOOK, 1 - share, (runs, MOST // LOOK)).cumsum(1)
    good = LOOKS - bad
    return Run(
        name,
        first(log_e_above(good, bad, AGREEMENT) >= -log(ALPHA)),
        first(log_e_below(good, bad, AGREEMENT) >= -log(ALPHA / 2)),
        first((wilson(good, good + bad, Z)[0] >= AGREEMENT) & (LOOKS >= NAIVE_FROM)),
    )


def labels(name: str, better: float, worse: float, runs: int) -> Run:
    """Simulate candidates that alone are right in `better` of labelled pairs, live in `worse`."""
    drawn = np.random.default_rng(SEED).multinomial(
        LOOK, [better, 1 - better - worse, worse], (runs, MOST // LOOK)
    )
    up, same, down = np.moveaxis(drawn.cumsum(1), -1, 0)
    mean = (up - down) / LOOKS
    deviation = np.sqrt(np.maximum((up + down) / LOOKS - mean**2, 0) / LOOKS)
    return Run(
        name,
        first(log_e_not_worse(up, same, down, MARGIN) >= -log(ALPHA)),
        first(log_e_worse(up, same, down, MARGIN) >= -log(ALPHA / 3)),
        first((mean - Z * deviation >= -MARGIN) & (LOOKS >= NAIVE_FROM)),
    )


def first(crossed: Array) -> Array:
    """Return at how many pairs each run first crossed; inf for never."""
    return np.where(crossed.any(axis=1), LOOKS[crossed.argmax(axis=1)], inf)


def simulate(runs: int) -> dict[str, list[Run]]:
    """Return by what is asked: candidates exactly at the threshold, good ones, and bad ones."""
    return {
        f"agreement, {percent(AGREEMENT)} asked for": [
            agreement(f"exactly {percent(AGREEMENT)}", AGREEMENT, runs),
            agreement("good: 99.8%", 0.998, runs),
            agreement("bad: 97%", 0.97, runs),
        ],
        f"labels, at most {percent(MARGIN)} worse": [
            labels(f"exactly {percent(MARGIN)} worse", 0.01, 0.02, runs),
            labels("good: 2% better", 0.03, 0.01, runs),
            labels("bad: 4% worse", 0.01, 0.05, runs),
        ],
    }


def ever(pairs: Array) -> float:
    """Return the share of runs that decided so."""
    return float(np.mean(np.isfinite(pairs)))


def median(pairs: Array) -> float | None:
    """Return at how many pairs half of all runs had decided so; None if fewer ever did."""
    found = float(np.median(pairs))
    return None if found == inf else found


def judge(found: dict[str, list[Run]]) -> list[str]:
    """Return what of the promises is broken."""
    failures = []
    for asked, (exactly, good, bad) in found.items():
        for what, share in (("promoted", exactly.promoted), ("rejected", exactly.rejected)):
            if ever(share) > ALPHA:
                failures.append(f"{asked}: {percent(ever(share))} are {what} at the threshold")
        if ever(exactly.naive) <= 3 * ALPHA:
            failures.append(f"{asked}: the naive rule would do")
        for run, pairs in ((good, good.promoted), (bad, bad.rejected)):
            if (median(pairs) or inf) > SOON:
                failures.append(f"{asked}: {run.name} is not decided by {SOON:,} pairs")
    return failures


def write(folder: Path, runs: int, found: dict[str, list[Run]]) -> int:
    lines = [
        f"{runs:,} runs each, a look every {LOOK} pairs up to {MOST:,}.",
        "",
        "| asked | truth | promoted | at pairs | rejected | at pairs | naive rule promoted |",
        "|---|---|---|---|---|---|---|",
    ]
    document = []
    for asked, simulated in found.items():
        for run in simulated:
            cells = [asked, run.name]
            for pairs in (run.promoted, run.rejected):
                middle = median(pairs)
                cells += [percent(ever(pairs)), "" if middle is None else f"{middle:,.0f}"]
            lines.append(f"| {' | '.join([*cells, percent(ever(run.naive))])} |")
            sides = {"promoted": run.promoted, "rejected": run.rejected, "naive": run.naive}
            shares = {name: ever(pairs) for name, pairs in sides.items()}
            medians = {f"{name}_at_pairs": median(pairs) for name, pairs in sides.items()}
            document.append({"asked": asked, "truth": run.name, **shares, **medians})
    return outcome.leave(
        folder,
        "simulate_gate",
        lines,
        {"runs": runs, "candidates": document},
        failures=judge(found),
        kept=f"of candidates exactly at the threshold at most {percent(ALPHA)} are promoted, or "
        f"rejected; clear cases are decided by {SOON:,} pairs in the median.",
        options="" if runs == RUNS else f"--runs {runs}",
    )


@styled_file
def draw(file: Path, found: dict[str, list[Run]]) -> None:
    figure = Figure(figsize=(10, 6.4), dpi=150, layout="constrained", facecolor="white")
    for column, (asked, (exactly, good, bad)) in enumerate(found.items()):
        upper = figure.add_subplot(2, 2, column + 1)
        upper.plot(LOOKS, by_then(exactly.naive), color=OTHER, label="naive: lower 95% bound")
        upper.plot(LOOKS, by_then(exactly.promoted), color=MAIN, label="the gate")
        upper.axhline(ALPHA, color=BAD, linestyle=":", label=f"allowed: {percent(ALPHA)}")
        upper.set(title=f"{asked}\ntruly {exactly.name}: promoted, which is wrong", ylim=(0, 0.4))
        lower = figure.add_subplot(2, 2, column + 3)
        lower.plot(LOOKS, by_then(good.promoted), color=MAIN, label=f"{good.name}: promoted")
        lower.plot(LOOKS, by_then(bad.rejected), color=BAD, label=f"{bad.name}: rejected")
        lower.axhline(0.5, color=MUTED, linestyle=":", label="median")
        lower.set(title="clear cases: decided, rightly", xlabel="pairs", ylim=(0, 1.02))
        for axes in (upper, lower):
            axes.set(ylabel="share of runs", xlim=(0, MOST))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.legend(loc="upper right" if axes is upper else "lower right")
    figure.savefig(file)


def by_then(pairs: Array) -> Array:
    """Return at each look what share of the runs had decided by then."""
    share: Array = (pairs[:, None] <= LOOKS).mean(axis=0)
    return share


def main(arguments: Sequence[str] | None = None) -> int:
    parser = outcome.parser(__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args(arguments)
    found = simulate(given.runs)
    status = write(given.out, given.runs, found)
    draw(given.out / "simulate_gate.png", found)
    return status


if __name__ == "__main__":
    sys.exit(main())
