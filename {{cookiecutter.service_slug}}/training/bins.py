"""Numbers counted in bins of equal width."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def count(values: Array, bins: int) -> tuple[Array, Array]:
    """Return the counts of finite `values`, at least one, and the edges: one more, increasing.

    Values too near each other for so many bins all lie in the middle one.
    """
    low, high = float(values.min()), float(values.max())
    edges = _edges(low, high, bins)
    if not (np.diff(edges) > 0).all():
        room = max(abs(low), abs(high), 1e-300) / 1000 if low or high else 1.0
        largest = np.finfo(np.float64).max
        edges = _edges(max(low - room, -largest), min(high + room, largest), bins)
    return np.histogram(values, edges)[0], edges


def _edges(low: float, high: float, bins: int) -> Array:
    share = np.linspace(0, 1, bins + 1)
    edges: Array = low * (1 - share) + high * share  # where high - low is more than a float holds
    return edges
