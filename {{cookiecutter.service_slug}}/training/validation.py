"""What differs between the data that the live model learnt from and those of its successor.

The live model's manifest is compared with a frame. Two samples differ by chance alone: of gaps,
extremes and shifts only that is told which at most 1 in 10,000 pairs of equal samples would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom, chi2

from service.artifact import Histogram, Input, Manifest
from service.schema import has_time_zone, number_limits

ALPHA = 0.0001  # the chance of a false alarm, over all columns together
TESTS = 3  # of a column: gaps, extremes, a shift
LEAST_DISTANCE = 0.1
LEAST_RISE = 0.01  # of the share of gaps
MOST_NAMED = 5
NUMBERS = ("int", "float")


@dataclass(frozen=True)
class Finding:
    """What differs in one column, in plain words with figures.

    `breaking`: callers of the live model could not call this one. `distance`: Jensen-Shannon, 0 to
    1, of a shift, else None.
    """

    column: str
    line: str
    breaking: bool = False
    distance: float | None = None


def validate(live: Manifest, inputs: Sequence[Input], frame: pd.DataFrame) -> list[Finding]:
    """Return what differs, column by column, what breaks callers first.

    `frame`: the new data, as training/inputs.py serves them; `inputs` describes them. How the truth
    is distributed is not told by manifests, so it is not compared.
    """
    old, new = ({item.name: item for item in items} for items in (live.inputs, inputs))
    found = [Finding(name, "is gone", breaking=True) for name in old if name not in new]
    found += [
        Finding(name, "is new: callers do not send it", breaking=True)
        for name in new
        if name not in old
    ]
    if not found and (moved := [name for name, was in zip(new, old, strict=True) if name != was]):
        line = "stands at another place: callers may send rows as lists"
        found.append(Finding(moved[0], line, breaking=True))
    alpha = ALPHA / (TESTS * len(inputs))
    for name, item in new.items():
        if was := old.get(name):
            found += _requests(was, item)
            found += _gaps(live, was, frame[name], alpha)
            histogram = live.baseline.inputs.get(name)
            if histogram is None:  # free text and dates
                continue
            values = frame[name].dropna()
            rows = live.data.rows - histogram.nulls
            if was.type in NUMBERS and item.type in NUMBERS:
                found += _numbers(was, histogram, rows, values, alpha)
            elif was.type == item.type:
                found += _categories(was, item, histogram, rows, values, alpha)
    return sorted(found, key=lambda finding: not finding.breaking)


def _requests(old: Input, new: Input) -> Iterator[Finding]:
    """Yield what differs between the values that live accepts and those that the new one would."""
    if old.type != new.type:
        widened = (old.type, new.type) == ("int", "float")  # which takes whole numbers too
        yield Finding(new.name, f"was {old.type}, is {new.type}", breaking=not widened)
    elif new.type == "datetime" and has_time_zone(old) != has_time_zone(new):
        now = "a" if has_time_zone(new) else "no"
        yield Finding(new.name, f"dates have {now} time zone now", breaking=True)
    limits = number_limits(new) if new.type in NUMBERS else None
    if limits and old.minimum is not None and old.maximum is not None:
        low, high = limits
        if not low <= old.minimum <= old.maximum <= high:
            line = f"is {new.dtype}, which does not hold {old.minimum:g} to {old.maximum:g}"
            yield Finding(new.name, line, breaking=True)
    if old.nullable and not new.nullable:
        yield Finding(
            new.name, "has no gaps any more, so callers would have to send it", breaking=True
        )


def _gaps(live: Manifest, old: Input, column: pd.Series[Any], alpha: float) -> Iterator[Finding]:
    rows, gaps = len(column), int(column.isna().sum())
    histogram = live.baseline.inputs.get(old.name)
    if gaps and not old.nullable:
        yield Finding(old.name, f"has gaps in {_of(gaps, rows)}, live had none")
    elif gaps and histogram:
        before = histogram.nulls / live.data.rows
        # Of all gaps, each is among the new rows by their share of all rows.
        chance = binom.sf(gaps - 1, gaps + histogram.nulls, rows / (rows + live.data.rows))
        if gaps / rows - before >= LEAST_RISE and chance < alpha:
            yield Finding(old.name, f"has gaps in {_of(gaps, rows)}, live had {before:.2%}")


def _numbers(
    old: Input, histogram: Histogram, rows: int, column: pd.Series[Any], alpha: float
) -> Iterator[Finding]:
    values = column.to_numpy(dtype=np.float64)
    low, high = old.minimum, old.maximum
    outside = int(np.count_nonzero(values < low) + np.count_nonzero(values > high))
    # Of rows in any order, the `outside` most extreme are all new ones by this chance, for each way
    # to divide them between the two ends.
    share = len(values) / max(1, len(values) + rows)
    if (outside + 1) * share**outside < alpha:
        line = f"lies outside of live's range, {low:g} to {high:g}, in {_of(outside, len(values))}"
        yield Finding(old.name, line)
    edges = np.array(histogram.edges)
    # As numpy's histogram counts: each bin has its lower edge, the last has both.
    place = np.searchsorted(edges, values, side="right")
    place[values == edges[-1]] -= 1
    counts = np.bincount(place, minlength=len(edges) + 1)
    yield from _shift(old.name, histogram, rows, counts[1:-1], len(values), alpha)


def _categories(
    old: Input, new: Input, histogram: Histogram, rows: int, column: pd.Series[Any], alpha: float
) -> Iterator[Finding]:
    counts = {str(name): count for name, count in column.value_counts().items() if count}
    seen = set(counts if old.categories is None else old.categories)
    if unseen := [name for name in counts if name not in seen]:
        share = _of(sum(counts[name] for name in unseen), len(column))
        yield Finding(old.name, f"has new categories in {share}{_names(unseen, new.public)}")
    known = np.array([counts.get(name, 0) for name in histogram.values or []])
    yield from _shift(old.name, histogram, rows, known, len(column), alpha)


def _shift(
    name: str, histogram: Histogram, old_rows: int, counts: Any, rows: int, alpha: float
) -> Iterator[Finding]:
    """Yield a shift between the histogram and new `counts` in the same bins; the rest has its own.

    Lin, "Divergence measures based on the Shannon entropy", 1991. To the second order, the squared
    distance of two samples is Pearson's chi-square * (1 / rows of one + 1 / rows of the other) /
    (8 ln 2); of samples of one distribution it exceeds that by at most a few times `alpha`, however
    sparse the bins.
    """
    if not rows or not old_rows:
        return
    before = np.array([*histogram.counts, old_rows - sum(histogram.counts)]) / old_rows
    now = np.array([*counts, rows - counts.sum()]) / rows
    distance = float(jensenshannon(before, now, base=2))
    freedom = max(1, np.count_nonzero(before + now) - 1)
    noise = float(np.sqrt(chi2.isf(alpha, freedom) * (1 / old_rows + 1 / rows) / (8 * np.log(2))))
    if distance > max(LEAST_DISTANCE, noise):
        figures = f"distance {distance:.2f} of 1, of which chance alone makes up to {noise:.2f}"
        line = f"is distributed otherwise: Jensen-Shannon {figures}"
        yield Finding(name, line, distance=distance)


def _of(count: int, rows: int) -> str:
    return f"{count:,} of {rows:,} rows ({count / rows:.2%})"


def _names(names: list[str], public: bool) -> str:
    if not public:
        return ""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f": {', '.join(names[:MOST_NAMED])}{more}"
