"""Proof by simulation that the gate may be asked after every pair, and what that costs.

The gate's own evidence is computed on seeded streams of pairs, with a look after every 25. Beside
it stands the rule that most would write: promote when the lower 95% bound passes the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table

from tools.shadow.charts import BAD
from tools.shadow.statistics import (
    Array,
    log_e_above,
    log_e_below,
    log_e_not_worse,
    log_e_worse,
)
from tools.shadow.words import percent
from training.figures import MAIN, MUTED, OTHER, styled
from training.intervals import wilson

LOOK, MOST, SEED = 25, 5_000, 0
ALPHA, Z = 0.05, 1.645
NAIVE_FROM = 200  # pairs: even who knows no better would not decide on fewer
AGREEMENT, MARGIN = 0.99, 0.01


@dataclass(frozen=True)
class Run:
    """Of many candidates alike: at how many pairs each was promoted, or rejected, or never (inf),
    and promoted by the naive rule."""

    name: str
    promoted: Array
    rejected: Array
    naive: Array


def agreement(name: str, share: float, runs: int, seed: int = SEED) -> Run:
    """Simulate candidates that truly agree in `share` of pairs; AGREEMENT is asked for."""
    bad = np.random.default_rng(seed).binomial(LOOK, 1 - share, (runs, MOST // LOOK)).cumsum(1)
    good = _looks() - bad
    return Run(
        name,
        _first(log_e_above(good, bad, AGREEMENT) >= -log(ALPHA)),
        _first(log_e_below(good, bad, AGREEMENT) >= -log(ALPHA / 2)),
        _first((wilson(good, good + bad, Z)[0] >= AGREEMENT) & (_looks() >= NAIVE_FROM)),
    )


def labels(name: str, better: float, worse: float, runs: int, seed: int = SEED) -> Run:
    """Simulate candidates that alone are right in `better` of labelled pairs, live in `worse`."""
    drawn = np.random.default_rng(seed).multinomial(
        LOOK, [better, 1 - better - worse, worse], (runs, MOST // LOOK)
    )
    up, same, down = np.moveaxis(drawn.cumsum(1), -1, 0)
    n = _looks()
    mean = (up - down) / n
    deviation = np.sqrt(np.maximum((up + down) / n - mean**2, 0) / n)
    return Run(
        name,
        _first(log_e_not_worse(up, same, down, MARGIN) >= -log(ALPHA)),
        _first(log_e_worse(up, same, down, MARGIN) >= -log(ALPHA / 3)),
        _first((mean - Z * deviation >= -MARGIN) & (n >= NAIVE_FROM)),
    )


def _looks() -> Array:
    return np.arange(LOOK, MOST + 1, LOOK)


def _first(crossed: Array) -> Array:
    """Return at how many pairs each run first crossed; inf for never."""
    return np.where(crossed.any(axis=1), _looks()[crossed.argmax(axis=1)], inf)


def main(out: Path, runs: int = 2_000) -> None:
    """Print the table, and draw it to `out`."""
    tables = {
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
    table = Table(title=f"{runs:,} runs each, a look every {LOOK} pairs up to {MOST:,}")
    for head in (
        "Asked",
        "Truth",
        "Promoted",
        "at pairs",
        "Rejected",
        "at pairs",
        "Naive promoted",
    ):
        table.add_column(head, justify="left" if head in ("Asked", "Truth") else "right")
    for asked, found in tables.items():
        for run in found:
            sides = [text for side in (run.promoted, run.rejected) for text in _cells(side)]
            table.add_row(asked, run.name, *sides, percent(_ever(run.naive)))
        table.add_section()
    Console(width=120).print(table)
    for asked, (exactly, *_) in tables.items():
        print(
            f"{asked}: of candidates exactly at the threshold the gate promotes "
            f"{percent(_ever(exactly.promoted))} (allowed: {percent(ALPHA)}), the naive rule "
            f"{percent(_ever(exactly.naive))}"
        )
    _draw(tables, out)
    print(f"picture: {out}")


def _cells(first: Array) -> tuple[str, str]:
    """Return how many runs decided so, and the median number of pairs at which they did."""
    median = float(np.median(first))
    return percent(_ever(first)), "–" if median == inf else f"{median:,.0f}"


def _ever(first: Array) -> float:
    return float(np.mean(np.isfinite(first)))


@styled
def _draw(tables: dict[str, list[Run]], out: Path) -> None:
    figure = Figure(figsize=(10, 6.4), dpi=150, layout="constrained", facecolor="white")
    for column, (asked, (exactly, good, bad)) in enumerate(tables.items()):
        upper = figure.add_subplot(2, 2, column + 1)
        upper.plot(_looks(), _share(exactly.naive), color=OTHER, label="naive: lower 95% bound")
        upper.plot(_looks(), _share(exactly.promoted), color=MAIN, label="the gate")
        upper.axhline(ALPHA, color=BAD, linestyle=":", label=f"allowed: {percent(ALPHA)}")
        upper.set(title=f"{asked}\ntruly {exactly.name}: promoted, which is wrong", ylim=(0, 0.4))
        lower = figure.add_subplot(2, 2, column + 3)
        lower.plot(_looks(), _share(good.promoted), color=MAIN, label=f"{good.name}: promoted")
        lower.plot(_looks(), _share(bad.rejected), color=BAD, label=f"{bad.name}: rejected")
        lower.axhline(0.5, color=MUTED, linestyle=":", label="median")
        lower.set(title="clear cases: decided, rightly", xlabel="pairs", ylim=(0, 1.02))
        for axes in (upper, lower):
            axes.set(ylabel="share of runs", xlim=(0, MOST))
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.legend(loc="upper right" if axes is upper else "lower right")
    figure.savefig(out)


def _share(first: Array) -> Array:
    """Return at each look what share of the runs had decided by then."""
    share: Array = (first[:, None] <= _looks()).mean(axis=0)
    return share
