"""What a call of the model costs, learnt from recent calls: who may queue follows from it."""

from __future__ import annotations

from dataclasses import dataclass

# The weight of a call falls to half after some 13 further ones: quick to notice a slow neighbour,
# slow enough not to take one outlier for the rule.
DECAY = 0.95
# The weight of a warm-up call, which never decays: enough for a slope, too little to be in the way.
WARM_UP_WEIGHT = 0.1
# A million rows cost no more than the time asked about: as good as free.
NO_LIMIT = 1_000_000


@dataclass(slots=True)
class Sums:
    """Weighted sums over calls: all that a straight line through them needs (least squares)."""

    weight: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    rows_squared: float = 0.0
    rows_times_seconds: float = 0.0

    def add(self, rows: int, seconds: float, weight: float = 1.0, decay: float = 1.0) -> None:
        """Add a call, having taken from the weight of those before."""
        self.weight = decay * self.weight + weight
        self.rows = decay * self.rows + weight * rows
        self.seconds = decay * self.seconds + weight * seconds
        self.rows_squared = decay * self.rows_squared + weight * rows * rows
        self.rows_times_seconds = decay * self.rows_times_seconds + weight * rows * seconds


class CallCost:
    """The seconds that a call of the model takes: `fixed + per_row * rows`.

    Least squares with exponentially falling weights. The calls made while warming up keep a little
    weight, so that there is a slope to be known when all recent calls had the same size.
    """

    def __init__(self) -> None:
        self.fixed = 0.0
        self.per_row = 0.0
        self._warm_up = Sums()
        self._recent = Sums()

    def learn_warm_up(self, rows: int, seconds: float) -> None:
        self._warm_up.add(rows, seconds, weight=WARM_UP_WEIGHT)
        self._fit()

    def learn(self, rows: int, seconds: float) -> None:
        self._recent.add(rows, seconds, decay=DECAY)
        self._fit()

    def _fit(self) -> None:
        one, two = self._warm_up, self._recent
        weight = one.weight + two.weight
        rows = one.rows + two.rows
        seconds = one.seconds + two.seconds
        covariance = weight * (one.rows_times_seconds + two.rows_times_seconds) - rows * seconds
        variance = weight * (one.rows_squared + two.rows_squared) - rows * rows
        slope = covariance / variance if variance > 0 else 0.0
        # Neither part of a cost is negative, whatever the noise says.
        self.per_row = min(max(slope, 0.0), seconds / rows)
        self.fixed = (seconds - self.per_row * rows) / weight

    def delay(self, rows: int, rows_per_call: int) -> float:
        """Return by how many seconds `rows` in the queue delay a newcomer.

        Rows that share the newcomer's own call delay it by their own part of that call only.
        """
        return rows // rows_per_call * self.fixed + rows * self.per_row

    def rows_within(self, seconds: float) -> int:
        """Return how many rows, at least 1, make a call longer by no more than that."""
        if self.per_row * NO_LIMIT < seconds:
            return NO_LIMIT
        return max(1, int(seconds / self.per_row))
