"""The statistics of the gate, each held against what defines it."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tools.shadow import statistics


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 30), st.integers(0, 30))
def test_evidence_is_a_bet_that_only_the_truth_makes_pay(
    threshold: float, share: float, good: int, bad: int
) -> None:
    """At the threshold the next pair leaves it, on average, as it is; on the wrong side it shrinks:
    so nothing is gained by looking often."""
    for log_e, wrong in (
        (statistics.log_e_above, share <= threshold),
        (statistics.log_e_below, share >= threshold),
    ):
        now = np.exp(log_e(good, bad, threshold))
        better, worse = (np.exp(log_e(good + step, bad + 1 - step, threshold)) for step in (1, 0))
        assert threshold * better + (1 - threshold) * worse == pytest.approx(now, rel=1e-9)
        if wrong:
            assert share * better + (1 - share) * worse <= now * (1 + 1e-9)


@given(st.floats(0, 0.5), st.floats(0, 0.25), st.tuples(*[st.integers(0, 20)] * 3))
def test_evidence_of_labels_is_a_fair_bet(
    margin: float, better: float, seen: tuple[int, int, int]
) -> None:
    worse = better + margin  # exactly the margin
    a, b, c = seen
    for log_e in (statistics.log_e_not_worse, statistics.log_e_worse):
        now = np.exp(log_e(a, b, c, margin))
        then = better * np.exp(log_e(a + 1, b, c, margin))
        then += (1 - better - worse) * np.exp(log_e(a, b + 1, c, margin))
        then += worse * np.exp(log_e(a, b, c + 1, margin))
        assert then == pytest.approx(now, rel=1e-9)
    # If only live is ever right, evidence that the candidate is not worse falls, the other grows.
    assert statistics.log_e_not_worse(a, b, c + 1, margin) < statistics.log_e_not_worse(
        *seen, margin
    )
    assert statistics.log_e_worse(a, b, c + 1, margin) > statistics.log_e_worse(*seen, margin)


@pytest.mark.parametrize(("share", "pairs"), [(0.95, 88), (0.99, 449), (0.995, 901)])
def test_pairs_that_a_faultless_candidate_needs(share: float, pairs: int) -> None:
    enough = -log(0.05)

    assert statistics.log_e_above(pairs, 0, share) >= enough
    assert statistics.log_e_above(pairs - 1, 0, share) < enough


@pytest.mark.parametrize(("good", "bad"), [(995, 5), (10, 0), (0, 10), (1, 1), (99_990, 10)])
def test_bounds_end_where_the_evidence_does(good: int, bad: int) -> None:
    low, high = statistics.bounds(good, bad, 0.05)

    assert 0 <= low <= good / (good + bad) <= high <= 1
    if low:
        assert statistics.log_e_above(good, bad, low - 1e-9) >= -log(0.05)
        assert statistics.log_e_above(good, bad, low + 1e-6) < -log(0.05)
    if high < 1:
        assert statistics.log_e_below(good, bad, high + 1e-9) >= -log(0.05)


def test_kappa_is_cohens() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 3, 500)
    other = np.where(rng.random(500) < 0.8, one, rng.integers(0, 3, 500))
    flips = np.zeros((3, 3), int)
    np.add.at(flips, (one, other), 1)

    assert statistics.kappa(flips) == pytest.approx(cohen_kappa_score(one, other))
    # Always the common class: 99% agreement, and none beyond chance.
    assert statistics.kappa(np.array([[990, 0], [10, 0]])) == pytest.approx(0)
    assert statistics.kappa(np.array([[100]])) is None


def test_quantile_differences_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    live = rng.lognormal(0, 0.5, 4000)
    found = statistics.quantile_differences(live, live * 1.2 + rng.normal(0, 0.01, 4000), [0.5])

    ((low, high),) = found
    assert low < 0.2 < high and high - low < 0.03
