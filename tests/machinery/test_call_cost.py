from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.call_cost import CallCost
from service.errors import overloaded


@given(
    st.floats(0, 0.5),
    st.floats(0, 0.05),
    st.lists(st.integers(1, 256), min_size=1, max_size=50),
)
def test_the_cost_of_a_call_is_found_whatever_the_sizes_seen(
    fixed: float, per_row: float, sizes: list[int]
) -> None:
    cost = CallCost()
    for rows in (1, 4, 16):
        cost.learn_warm_up(rows, fixed + per_row * rows)
    for rows in sizes:
        cost.learn(rows, fixed + per_row * rows)
    assert cost.fixed == pytest.approx(fixed, rel=0.02, abs=1e-3)
    assert cost.per_row == pytest.approx(per_row, rel=0.02, abs=1e-4)


@given(st.lists(st.tuples(st.integers(1, 256), st.floats(1e-6, 10)), min_size=1, max_size=30))
def test_no_noise_makes_a_cost_negative(calls: list[tuple[int, float]]) -> None:
    cost = CallCost()
    for rows, seconds in calls:
        cost.learn(rows, seconds)
        assert cost.fixed >= -1e-9 and cost.per_row >= 0
        assert cost.rows_within(0.25) >= 1


def test_a_model_that_slows_down_is_noticed_within_some_dozens_of_calls() -> None:
    cost = CallCost()
    for rows in (1, 4, 16):
        cost.learn_warm_up(rows, 0.01)
    for _ in range(60):
        cost.learn(8, 0.1)
    assert cost.delay(8, 8) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("fixed", "per_row", "rows", "wait"),
    [
        (0.5, 0.0, 0, 0.0),
        (0.5, 0.0, 7, 0.0),  # shares their call
        (0.5, 0.0, 8, 0.5),
        (0.0, 0.01, 7, 0.07),
        (0.1, 0.01, 17, 0.37),
    ],
)
def test_the_wait_is_what_those_ahead_add(
    fixed: float, per_row: float, rows: int, wait: float
) -> None:
    cost = CallCost()
    cost.fixed, cost.per_row = fixed, per_row
    assert cost.delay(rows, rows_per_call=8) == pytest.approx(wait)


@pytest.mark.parametrize(("wait", "after"), [(0.0, "1"), (0.3, "1"), (2.1, "3")])
def test_a_refusal_says_when_to_come_again(wait: float, after: str) -> None:
    refusal = overloaded(wait)
    assert (refusal.status, refusal.headers) == (503, {"Retry-After": after})
