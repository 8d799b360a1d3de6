"""A distribution in little memory, as Datadog keeps it: counts of values that are alike to 2 %.

Sketches add up, so that percentiles over a minute come from sixty of a second each.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Sequence

_STEP = math.log(1.02)
_TINY = 1e-15  # nearer to zero than this is zero
_ZERO = math.ceil(-math.log(_TINY) / _STEP) + 1  # keeps the keys of small values positive


class Sketch:
    """Counts by the logarithm of the value's size, negative keys for negative values."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, float] = defaultdict(float)
        self.count = 0.0
        self.sum = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf

    def add(self, value: float, weight: float = 1.0) -> None:
        """Add a value; NaN and infinity are nothing that could be shown, and are passed over."""
        if not math.isfinite(value):
            return
        self._counts[_key(value)] += weight
        self.count += weight
        self.sum += value * weight
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)

    def merge(self, other: Sketch) -> None:
        for key, count in other._counts.items():
            self._counts[key] += count
        self.count += other.count
        self.sum += other.sum
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def quantile(self, share: float) -> float:
        """Return the value that `share` of all do not exceed, to within 1 %; NaN if empty."""
        seen = 0.0
        for key in sorted(self._counts):
            seen += self._counts[key]
            if seen >= share * self.count:
                return self._value(key)
        return math.nan

    def histogram(self, edges: Sequence[float]) -> list[float]:
        """Return how many lie between neighbouring edges; those beyond count at the ends."""
        found = [0.0] * (len(edges) - 1)
        for key, count in self._counts.items():
            place = bisect.bisect_right(edges, self._value(key)) - 1
            found[min(max(place, 0), len(found) - 1)] += count
        return found

    def _value(self, key: int) -> float:
        size = math.exp((abs(key) - _ZERO + 0.5) * _STEP) if key else 0.0
        return min(max(math.copysign(size, key), self.minimum), self.maximum)


def _key(value: float) -> int:
    if abs(value) < _TINY:
        return 0
    key = math.floor(math.log(abs(value)) / _STEP) + _ZERO
    return key if value > 0 else -key
