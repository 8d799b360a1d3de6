"""What many rounds say of a ratio, on a machine whose speed changes between them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Interval(NamedTuple):
    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def median(values: Iterable[float]) -> Interval:
    """Return the median and its 95 % interval, which takes order statistics as binomial ranks.

    Of fewer than six values it is all they span.
    """
    ordered = sorted(values)
    n = len(ordered)
    rank = max(0, math.floor((n - 1.96 * math.sqrt(n)) / 2))
    return Interval(statistics.median(ordered), ordered[rank], ordered[-1 - rank])
