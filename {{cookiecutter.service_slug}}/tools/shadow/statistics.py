"""The statistics of the verdict, each with where it comes from.

Two kinds, and only one may decide. Evidence (`log_e_...`) may be looked at after every pair: under
the hypothesis it speaks against it is a nonnegative supermartingale that starts at 1, so the chance
that it ever reaches 1 / alpha is at most alpha (Ville 1939; Ramdas, Grunwald, Vovk and Shafer,
"Game-theoretic statistics and safe anytime-valid inference", 2023). It needs no independence, only
that whatever was seen before, the next pair agrees with at most the chance that the hypothesis
names. The rest (kappa, bootstrap, and Wilson's interval, which the model card uses too) describes:
it is right for one look at a number of pairs fixed beforehand.

The grids are fixed before there are data, as the argument demands. Counts may be numbers or arrays.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Count = int | Array

GRID = 32
BETS = 8
RESAMPLES = 300
# Values drawn in all by a bootstrap: with more pairs there are fewer resamples.
MAX_DRAWN = 20_000_000


def log_e_above(good: Count, bad: Count, share: float) -> Array:
    """Return the log of the evidence that pairs are good more often than `share`.

    A mixture of likelihood ratios over alternatives spread evenly above `share` (the method of
    mixtures: Robbins 1970; as bets: Waudby-Smith and Ramdas, "Estimating means of bounded random
    variables by betting", 2024).
    """
    q = share + (1 - share) * (np.arange(GRID) + 0.5) / GRID
    return _mixture(
        _column(good) * np.log(q / share) + _column(bad) * np.log((1 - q) / (1 - share))
    )


def log_e_below(good: Count, bad: Count, share: float) -> Array:
    """Return the log of the evidence that pairs are good less often than `share`.

    The mirror image, with alternatives whose share of bad pairs grows from 1 - `share` to 1 by
    equal factors: a little worse matters as much as a lot worse.
    """
    badness = (1 - share) ** (1 - (np.arange(GRID) + 0.5) / GRID)
    return _mixture(
        _column(good) * np.log((1 - badness) / share) + _column(bad) * np.log(badness / (1 - share))
    )


def log_e_not_worse(better: Count, same: Count, worse: Count, margin: float) -> Array:
    """Return the log of the evidence that the candidate is right at most `margin` less often.

    Of the labelled rows, `better` are those that only the candidate answered rightly, and `worse`
    those that only live did. A bet on the mean of a bounded variable (+1, 0, -1), mixed over fixed
    stakes (Waudby-Smith and Ramdas 2024).
    """
    stake = 0.9 / (1 - margin) / 2.0 ** np.arange(BETS)
    return _bet(better, same, worse, stake, margin)


def log_e_worse(better: Count, same: Count, worse: Count, margin: float) -> Array:
    """Return the log of the evidence that the candidate is right over `margin` less often."""
    stake = -0.9 / (1 + margin) / 2.0 ** np.arange(BETS)
    return _bet(better, same, worse, stake, margin)


def _bet(better: Count, same: Count, worse: Count, stake: Array, margin: float) -> Array:
    return _mixture(
        _column(better) * np.log1p(stake * (1 + margin))
        + _column(same) * np.log1p(stake * margin)
        + _column(worse) * np.log1p(-stake * (1 - margin))
    )


def log_e_mean_above(values: Array, mean: float) -> Array:
    """Return the log of the evidence, after each value, that on average they exceed `mean`.

    `values`: from -1 to 1, in order along the last axis. The bets of `log_e_not_worse`, on values
    that need not be +1, 0 or -1; so their order matters to what is returned in between only.
    """
    return _mixture(np.cumsum(_bets_above(values, mean), axis=-2))


def log_e_mean_below(values: Array, mean: float) -> Array:
    """Return the log of the evidence, after each value, that on average they stay below `mean`."""
    return log_e_mean_above(-values, -mean)


def mean_bounds(values: Array, alpha: float) -> tuple[float, float]:
    """Return between what bounds the mean of values from -1 to 1 lies, as `bounds` does."""
    if not len(values):
        return -1.0, 1.0

    def least(values: Array) -> float:
        """Return the largest mean that the evidence, at the end, says is exceeded."""

        def refuted(mean: float) -> bool:
            return bool(_mixture(_bets_above(values, mean).sum(axis=-2)) >= -log(alpha))

        return _crossing(refuted, -1.0, float(values.mean()))

    return least(values), -least(-values)


def _bets_above(values: Array, mean: float) -> Array:
    stakes = 0.9 / (1 + mean) / 2.0 ** np.arange(BETS)
    return np.log1p((values - mean)[..., None] * stakes)


def _column(count: Count) -> Array:
    return np.asarray(count, dtype=float)[..., None]


def _mixture(log_e: Array) -> Array:
    """Return the log of the mean over the last axis, without leaving the logs."""
    mean: Array = np.logaddexp.reduce(log_e, axis=-1) - log(log_e.shape[-1])
    return mean


def bounds(good: int, bad: int, alpha: float) -> tuple[float, float]:
    """Return between what bounds the share of good pairs lies, however often one has looked.

    The shares that the evidence does not speak against: the lower bound passes a threshold when
    `log_e_above` does. Each bound is wrong with a chance of at most `alpha`.
    """
    enough, share = -log(alpha), good / max(good + bad, 1)
    low = _crossing(lambda p: log_e_above(good, bad, p) >= enough, 0.0, share) if good else 0.0
    high = _crossing(lambda p: log_e_below(good, bad, p) >= enough, 1.0, share) if bad else 1.0
    return low, high


def _crossing(refuted: Any, far: float, near: float) -> float:
    """Return where between a share surely refuted and one surely not the evidence runs out."""
    for _ in range(32):
        middle = (far + near) / 2
        if refuted(middle):
            far = middle
        else:
            near = middle
    return far


def kappa(flips: Array) -> float | None:
    """Return the agreement beyond that of chance: 1 is all, 0 is none; None if there is one class.

    Cohen, "A coefficient of agreement for nominal scales", 1960. A model that always names a class
    that holds for 99% agrees with any good one 99% of the time, and has a kappa of 0.
    """
    total = flips.sum()
    if not total:
        return None
    observed = np.trace(flips) / total
    expected = float(flips.sum(axis=0) @ flips.sum(axis=1)) / total**2
    return None if expected == 1 else float((observed - expected) / (1 - expected))


def quantile_differences(
    live: Array, candidate: Array, quantiles: list[float]
) -> list[tuple[float, float]]:
    """Return by how much the candidate's quantiles exceed live's: a 95% interval for each.

    A bootstrap of pairs, since a pair shares its request (Efron and Tibshirani, "An introduction
    to the bootstrap", 1993, the percentile interval). For one look only.
    """
    pairs = np.column_stack([live, candidate])
    rng = np.random.default_rng(0)
    resamples = int(np.clip(MAX_DRAWN // len(pairs), 50, RESAMPLES))
    differences = []
    for _ in range(resamples):
        drawn = pairs[rng.integers(0, len(pairs), len(pairs))]
        differences.append(np.diff(np.quantile(drawn, quantiles, axis=0)).ravel())
    low, high = np.quantile(differences, [0.025, 0.975], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
