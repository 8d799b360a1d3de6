"""Whether a candidate is worse than the live model, on the same held-out rows.

Both err on much the same rows, so what counts is the difference in each resample of rows, not two
intervals side by side.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from training.counted import FORMULAS, measure
from training.errors import TrainingError
from training.evaluate import Array, Evaluation, OwnMeasure
from training.gates import Gate
from training.resampling import Drawn, Interval, LeftOut, Resampling

Outcome = Literal["better", "good", "undecided", "worse"]

ALPHA = 0.05  # the chance that any metric of an equal candidate is called worse
MOST_DRAWN = 2000  # rows; of more, parts are left out in turn, which is far less work

ERRORS = {"mae", "rmse", "median_error", "max_error"}
LOWER_IS_BETTER = ERRORS | {"log_loss", "brier_score"}
UNBOUNDED = ERRORS | {"log_loss"}
UNPROVABLE = {"max_error"}  # hangs on a single row, so resampling tells nothing of it


@dataclass(frozen=True)
class Compared:
    """One metric of both models, on the same rows; NaN for a model that does not have it.

    `interval`: where candidate minus live lies, in the metric's unit; None where it cannot be told.
    `margin`: how much worse still counts as good, in the metric's unit.
    """

    metric: str
    live: float
    candidate: float
    higher_is_better: bool
    margin: float
    interval: Interval | None
    outcome: Outcome


def gated(gates: Sequence[Gate], evaluation: Evaluation) -> list[tuple[str, bool]]:
    """Return the metrics to compare, and whether higher is better: those of the gates.

    Without gates it is the headline, if it is none of the owner's: only a gate tells the direction
    of those.
    """
    if gates:
        directions = {gate.metric: gate.compare is operator.ge for gate in reversed(gates)}
        return [(metric, directions[metric]) for metric in dict.fromkeys(g.metric for g in gates)]
    headline = [name for name in list(evaluation.metrics)[:1] if name in FORMULAS]
    return [(name, name not in LOWER_IS_BETTER) for name in headline]


def compare(
    candidate: Evaluation,
    live: Evaluation,
    metrics: Sequence[tuple[str, bool]],
    margin: float,
    seed: int,
    own: tuple[OwnMeasure, OwnMeasure] | None = None,
    group: pd.Series[Any] | None = None,
) -> list[Compared]:
    """Compare two evaluations of the same rows, by `metrics` and whether higher is better in each.

    `margin`: absolute for metrics within 0 and 1, else a share of live's value. `own`: measures the
    owner's metrics of the candidate, and of live. `group`: of each row; rows of one are not
    independent, so they are left out together.

    "worse" and "better" are proven: by one-sided bounds of 95% over all metrics together
    (Bonferroni). "good" is proven to be worse by less than the margin.
    """
    rows, tail = len(candidate.frame), ALPHA / max(1, len(metrics))
    left_out = LeftOut.of(rows, group, seed)
    drawn = group is None and rows <= MOST_DRAWN
    built_in: Resampling = Drawn(rows, seed) if drawn else left_out
    owners = {} if own is None else _of_owner(own, left_out)
    compared = []
    for metric, higher in metrics:
        before, after = (side.metrics.get(metric, math.nan) for side in (live, candidate))
        resampling = left_out if metric in owners else built_in
        interval = None
        if math.isfinite(after - before) and (metric in owners or metric in FORMULAS):
            found = owners.get(metric)
            if found is None:
                found = _differences(metric, candidate, live, resampling)
            interval = _interval(metric, after - before, found, resampling, tail)
        absolute = metric in FORMULAS and metric not in UNBOUNDED and metric not in owners
        allowed = margin if absolute else margin * abs(before)
        outcome = _outcome(interval, higher, allowed)
        compared.append(Compared(metric, before, after, higher, allowed, interval, outcome))
    return compared


def _differences(
    metric: str, candidate: Evaluation, live: Evaluation, resampling: Resampling
) -> Array:
    found = [measure(metric, candidate, n) - measure(metric, live, n) for n in resampling.counts()]
    return np.concatenate(found)


def _of_owner(own: tuple[OwnMeasure, OwnMeasure], left_out: LeftOut) -> dict[str, Array]:
    """Return the differences of each metric of the owner's.

    Rows are left out, never repeated, so `judge` may rank or count them within their groups.
    """
    pairs = [(_told(own[0], rows), _told(own[1], rows)) for rows in left_out.rows()]
    names = {name for pair in pairs for told in pair for name in told}
    return {
        name: np.array([mine.get(name, np.nan) - live.get(name, np.nan) for mine, live in pairs])
        for name in names
    }


def _told(measure: OwnMeasure, rows: Array) -> dict[str, float]:
    try:
        return measure(rows)
    except TrainingError:  # what is defined of all rows may not be of these
        return {}


def _interval(
    metric: str, whole: float, found: Array, resampling: Resampling, tail: float
) -> Interval | None:
    if not whole and not np.any(np.abs(found) > 0):  # the same answers
        return 0.0, 0.0
    return None if metric in UNPROVABLE else resampling.interval(whole, found, tail)


def _outcome(interval: Interval | None, higher_is_better: bool, margin: float) -> Outcome:
    if interval is None:
        return "undecided"
    low, high = interval if higher_is_better else (-interval[1], -interval[0])
    if low > 0:
        return "better"
    # Before "worse": on very many rows the smallest loss is proven.
    if low >= -margin:
        return "good"
    return "worse" if high < 0 else "undecided"
