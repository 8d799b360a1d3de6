"""How far a measured value can be from the true one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

RESAMPLES = 300
MIN_ROWS = 10  # with fewer, an interval means little
MAX_VALUES = 20_000  # with more, it takes long

Array = np.ndarray[Any, Any]


def wilson(hits: Array | int, rows: Array | int, z: float = 1.96) -> tuple[Array, Array]:
    """Return the interval of a share (95% unless z says otherwise), for one look only.

    Sound for few rows, and for shares of 0 and 1. Wilson, "Probable inference, the law of
    succession, and statistical inference", 1927.
    """
    hits, rows = np.asarray(hits, dtype=float), np.asarray(rows, dtype=float)
    share, shrink = hits / rows, 1 + z**2 / rows
    middle = (share + z**2 / (2 * rows)) / shrink
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / shrink
    return np.clip(middle - half, 0, share), np.clip(middle + half, share, 1)


def bootstrap(
    measure: Callable[..., float], seed: int, *parts: Array
) -> tuple[float, float] | None:
    """Return the 95% interval of `measure(*parts)` over resampled rows; None if it cannot be told.

    `parts`: arrays of as many rows each.
    """
    rows = len(parts[0])
    if rows < MIN_ROWS or max(part.size for part in parts) > MAX_VALUES:
        return None
    draws = np.random.default_rng(seed).integers(0, rows, (RESAMPLES, rows))
    values = [measure(*(part[draw] for part in parts)) for draw in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    # A perfect score stays perfect however often it is resampled, which says nothing.
    return (float(low), float(high)) if low < high else None
