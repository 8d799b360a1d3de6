"""How far a measured share can be from the true one."""

from __future__ import annotations

from typing import Any

import numpy as np

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
