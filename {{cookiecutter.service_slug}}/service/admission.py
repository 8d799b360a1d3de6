"""Who may queue: what a call of the model costs, and what that means for the next in line."""

from __future__ import annotations

import math

from service.errors import RequestError

# The weight of a call falls to half after some 13 further ones: quick to notice a slow neighbour,
# slow enough not to take one outlier for the rule.
DECAY = 0.95
# Of a call made while warming up, which stays: enough for a slope, too little to be in the way.
ANCHOR = 0.1


class CallCost:
    """The seconds a call of the model takes: fixed + per_row * rows, from recent calls.

    Least squares with exponentially falling weights. The calls made while warming up keep a
    little weight, so that there is a slope to be known when all recent calls had the same size.
    """

    def __init__(self) -> None:
        self.fixed = 0.0
        self.per_row = 0.0
        self._anchor = [0.0] * 5
        self._recent = [0.0] * 5

    def anchor(self, rows: int, seconds: float) -> None:
        self._anchor = [
            a + ANCHOR * b for a, b in zip(self._anchor, _terms(rows, seconds), strict=True)
        ]
        self._fit()

    def learn(self, rows: int, seconds: float) -> None:
        self._recent = [
            DECAY * a + b for a, b in zip(self._recent, _terms(rows, seconds), strict=True)
        ]
        self._fit()

    def _fit(self) -> None:
        weight, rows, seconds, rows_rows, rows_seconds = (
            a + b for a, b in zip(self._anchor, self._recent, strict=True)
        )
        spread = weight * rows_rows - rows * rows
        slope = (weight * rows_seconds - rows * seconds) / spread if spread > 0 else 0.0
        # Neither part of a cost is negative, whatever the noise says.
        self.per_row = min(max(slope, 0.0), seconds / rows)
        self.fixed = (seconds - self.per_row * rows) / weight

    def queue(self, rows: int, per_call: int) -> float:
        """Return by how many seconds `rows` ahead delay what comes after them.

        Rows that the newcomer will share a call with delay it by their own part only.
        """
        return rows // per_call * self.fixed + rows * self.per_row

    def rows_within(self, seconds: float) -> int:
        """Return how many rows, at least 1, make a call longer by no more than that."""
        if self.per_row * 1e6 < seconds:  # as good as free
            return 1_000_000
        return max(1, int(seconds / self.per_row))


def _terms(rows: int, seconds: float) -> tuple[float, ...]:
    return 1.0, rows, seconds, rows * rows, rows * seconds


def overloaded(wait: float, reason: str = "wait") -> RequestError:
    """Return the refusal of a request that would have to wait too long."""
    retry = max(1, math.ceil(wait))
    return RequestError(
        503, f"overloaded: try again in {retry} s", reason, headers={"Retry-After": str(retry)}
    )
