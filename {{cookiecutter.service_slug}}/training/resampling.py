"""How far a difference of two models on the same rows can be from the true one.

Two methods for any metric: both measure it on other choices of the rows, given as how often each
counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import stats

Array = np.ndarray[Any, Any]
Interval = tuple[float, float]

DRAWS = 1000
PARTS = 20
FEWEST = 10  # rows or groups; with fewer, an interval means little
CELLS = 4_000_000  # of a matrix of counts, which bounds the memory


class Resampling(Protocol):
    def counts(self) -> Iterator[Array]:
        """Yield all choices, some at a time (choices x rows)."""

    def interval(self, whole: float, found: Array, tail: float) -> Interval | None:
        """Return the interval of the difference, wrong by chance `tail` at either end.

        `whole`: the difference on all rows; `found`: that of each choice, NaN where undefined.
        None: there are too few rows to tell.
        """


@dataclass(frozen=True)
class Drawn:
    """The bootstrap: as many rows as there are, drawn with replacement; percentiles.

    Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """

    rows: int
    seed: int

    def counts(self) -> Iterator[Array]:
        size = (DRAWS, self.rows)
        drawn = np.random.default_rng(self.seed).integers(0, self.rows, size)
        places = drawn + self.rows * np.arange(DRAWS)[:, None]
        yield np.bincount(places.ravel(), minlength=places.size).reshape(size).astype(float)

    def interval(self, whole: float, found: Array, tail: float) -> Interval | None:
        if self.rows < FEWEST or np.isnan(found).mean() > tail:
            return None
        low, high = np.nanquantile(found, [tail, 1 - tail])
        return float(low), float(high)


@dataclass(frozen=True)
class LeftOut:
    """The jackknife: `part` of each row, and all rows but those of a part; no row comes twice.

    The difference is taken as normal around the true one, with Student's t for so many parts.
    Tukey, "Bias and confidence in not-quite large samples", 1958.
    """

    part: Array

    @classmethod
    def of(cls, rows: int, group: pd.Series[Any] | None, seed: int) -> LeftOut:
        """Divide rows at random; those of a group stay together, since they are not independent."""
        unit = np.arange(rows) if group is None else pd.factorize(group)[0]
        units = int(unit.max()) + 1
        parts = np.random.default_rng(seed).permutation(units) % min(units, PARTS)
        return cls(parts[unit])

    def rows(self) -> Iterator[Array]:
        """Yield the positions of each choice."""
        for part in range(int(self.part.max()) + 1):
            yield np.flatnonzero(self.part != part)

    def counts(self) -> Iterator[Array]:
        parts = np.arange(self.part.max() + 1)
        for some in np.array_split(parts, -(-parts.size * self.part.size // CELLS)):
            yield (self.part != some[:, None]).astype(float)

    def interval(self, whole: float, found: Array, tail: float) -> Interval | None:
        if len(found) < FEWEST or np.isnan(found).any():
            return None
        parts = len(found)
        error = np.sqrt((parts - 1) / parts * np.sum((found - whole) ** 2))
        half = float(stats.t.ppf(1 - tail, parts - 1) * error)
        return whole - half, whole + half
