"""A candidate is called worse if that is proven on the rows that judge both, and not otherwise.

How often it errs is measured by loadtests/simulate_comparison.py, of which a little is run here.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import metrics
from training.comparison import compare, gated
from training.counted import FORMULAS, measure
from training.data import Data
from training.evaluate import Array, Evaluation, judged_at
from training.gates import Gate
from training.resampling import Drawn, LeftOut

TEMPLATE = Path(__file__).parents[2]
ACCURACY = [("accuracy", True)]


def classified(
    truth: Any, answer: Any, probability: Any = None, weights: Any = None, positive: Any = None
) -> Evaluation:
    truth, answer = np.asarray(truth, dtype=object), np.asarray(answer)
    classes = sorted(set(truth) | set(answer.tolist()))
    return Evaluation(
        kind="classification",
        classes=classes,
        frame=pd.DataFrame({"x": np.zeros(len(truth))}),
        truth=truth,
        answer=answer,
        probability=probability,
        metrics=metrics.classification(truth, answer, probability, classes, weights, positive),
        importance=[],
        weights=weights,
        positive=positive,
    )


def estimated(truth: Array, answer: Array, weights: Any = None) -> Evaluation:
    return Evaluation(
        kind="regression",
        classes=[],
        frame=pd.DataFrame({"x": np.zeros(len(truth))}),
        truth=truth,
        answer=answer,
        probability=None,
        metrics=metrics.regression(truth, answer, weights),
        importance=[],
        weights=weights,
    )


def right_but(wrong: Any, rows: int = 1000) -> Evaluation:
    """Return what a model makes of rows of two classes, if it is wrong in those of a mask."""
    truth = np.random.default_rng(0).choice(["no", "yes"], rows)
    other = np.where(truth == "no", "yes", "no")
    return classified(truth, np.where(wrong, other, truth))


def off_by(errors: Array) -> Evaluation:
    truth = np.random.default_rng(0).normal(100, 20, len(errors))
    return estimated(truth, truth + errors)


def first(share: float, rows: int = 1000) -> Array:
    found: Array = np.arange(rows) < share * rows
    return found


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans(), st.booleans())
def test_metrics_of_counted_rows_are_those_of_repeated_rows(
    seed: int, classes: int, weighted: bool, one: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = 40
    names = np.array([f"class {i}" for i in range(classes)])
    truth = names[np.r_[np.arange(classes), rng.integers(0, classes, rows - classes)]]
    answer = np.where(rng.random(rows) < 0.6, truth, rng.choice(names, rows))
    probability = rng.integers(1, 6, (rows, classes)).astype(float)  # with many equal ones
    probability /= probability.sum(axis=1, keepdims=True)
    weights = rng.uniform(0.5, 2, rows) if weighted else None
    positive = "class 1" if one else None
    whole = classified(truth, answer, probability, weights, positive)
    counts = rng.multinomial(rows, np.full(rows, 1 / rows), 3)
    counts[:, :classes] += 1  # no class is missing
    for metric in whole.metrics:
        found = measure(metric, whole, counts.astype(float))
        for value, count in zip(found, counts, strict=True):
            repeated = np.repeat(np.arange(rows), count)
            part = None if weights is None else weights[repeated]
            expected = classified(
                truth[repeated], answer[repeated], probability[repeated], part, positive
            )
            assert value == pytest.approx(expected.metrics[metric]), metric


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.booleans())
def test_errors_of_counted_rows_are_those_of_repeated_rows(seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    truth, rows = rng.normal(1e6, 1, 30), 30
    answer = truth + rng.normal(0, 1, rows)
    weights = rng.integers(1, 4, rows) / 2 if weighted else None
    counts = rng.multinomial(rows, np.full(rows, 1 / rows), 3)
    whole = estimated(truth, answer, weights)
    assert whole.metrics.keys() <= FORMULAS.keys()
    for metric in whole.metrics:
        found = measure(metric, whole, counts.astype(float))
        for value, count in zip(found, counts, strict=True):
            repeated = np.repeat(np.arange(rows), count)
            part = None if weights is None else weights[repeated]
            expected = metrics.regression(truth[repeated], answer[repeated], part)
            assert value == pytest.approx(expected[metric], rel=1e-6), metric


def test_what_is_worse_is_told_from_what_is_not() -> None:
    live = right_but(first(0.10))
    for wrong, expected in ((0.13, "worse"), (0.07, "better"), (0.102, "good"), (0.08, "better")):
        [found] = compare(right_but(first(wrong)), live, ACCURACY, 0.01, 0)
        assert found.outcome == expected
        assert found.interval is not None
        low, high = found.interval
        assert low <= found.candidate - found.live <= high
        assert found.candidate - found.live == pytest.approx(0.10 - wrong)
    [found] = compare(right_but(first(0.15) ^ first(0.05)), live, ACCURACY, 0.01, 0)
    assert found.outcome == "undecided" and found.margin == 0.01


@pytest.mark.parametrize("rows", [200, 5000])
def test_smaller_errors_are_better(rows: int) -> None:
    errors = np.random.default_rng(0).normal(size=rows)
    for times, expected in ((1.2, "worse"), (0.8, "better")):
        [found] = compare(off_by(times * errors), off_by(errors), [("mae", False)], 0.01, 0)
        assert found.outcome == expected


@pytest.mark.parametrize("rows", [3, 16, 1000, 5000])
def test_the_same_answers_are_good_by_every_metric(rows: int) -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.choice(["a", "b"], (2, rows))
    score = rng.random(rows)
    same = classified(truth, answer, np.column_stack([score, 1 - score]))
    numbers = estimated(rng.normal(size=rows), rng.normal(size=rows))
    for model in (same, numbers):
        for found in compare(model, model, [(name, True) for name in model.metrics], 0.0, 0):
            assert (found.interval, found.outcome) == ((0, 0), "good")


def test_of_few_rows_nothing_is_proven() -> None:
    [found] = compare(right_but(first(1, 9), 9), right_but(first(0, 9), 9), ACCURACY, 0.01, 0)
    assert (found.interval, found.outcome) == (None, "undecided")


@pytest.mark.parametrize("rows", [1000, 5000])
def test_both_methods_know_the_error_of_a_mean(rows: int) -> None:
    rng = np.random.default_rng(1)
    errors = rng.gamma(2, 1, (2, rows))
    mine, live = map(off_by, errors)
    [found] = compare(mine, live, [("mae", False)], 0.0, 0)
    assert found.interval is not None
    # The textbook's interval of a paired difference.
    half = 1.645 * np.std(errors[0] - errors[1]) / np.sqrt(rows)
    expected = np.array([-half, half]) + np.mean(errors[0] - errors[1])
    assert found.interval == pytest.approx(expected, abs=0.45 * half)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([300, 2500]))
def test_whose_place_is_whose_does_not_matter(seed: int, rows: int) -> None:
    one, other = map(off_by, np.random.default_rng(seed).normal(0, [[1.0], [1.1]], (2, rows)))
    [there] = compare(one, other, [("rmse", False)], 0.0, 0)
    [back] = compare(other, one, [("rmse", False)], 0.0, 0)
    assert there.interval and back.interval
    assert there.interval == pytest.approx([-back.interval[1], -back.interval[0]])
    reverse = {"better": "worse", "worse": "better"}
    assert back.outcome == reverse.get(there.outcome, back.outcome)


def test_more_metrics_need_more_proof() -> None:
    live, mine = right_but(first(0.10)), right_but(first(0.105))
    metrics = [*ACCURACY, ("f1_macro", True), ("recall_macro", True), ("precision_macro", True)]
    alone, among = (compare(mine, live, some, 0.01, 0)[0].interval for some in (ACCURACY, metrics))
    assert alone and among and among[0] < alone[0]


def test_margins_of_errors_are_shares_of_lives() -> None:
    live = off_by(np.full(200, 4.0))
    mae, r2 = compare(live, live, [("mae", False), ("r2", True)], 0.05, 0)
    assert mae.margin == pytest.approx(0.2) and r2.margin == 0.05


def test_nothing_is_said_of_the_largest_error() -> None:
    errors = np.random.default_rng(0).normal(size=500)
    [found] = compare(off_by(3 * errors), off_by(errors), [("max_error", False)], 0.01, 0)
    assert (found.interval, found.outcome) == (None, "undecided")


def test_a_metric_that_one_model_lacks_is_undecided() -> None:
    truth = np.array(["a", "b"] * 50)
    score = np.linspace(0, 1, 100)
    live, mine = classified(truth, truth), classified(truth, truth, np.c_[score, 1 - score])
    [found] = compare(mine, live, [("roc_auc", True)], 0.01, 0)
    assert math.isnan(found.live) and found.candidate > 0 and found.outcome == "undecided"


def test_a_single_group_proves_nothing() -> None:
    # One of 40 customers, who has as many rows as 25 others, is served worse.
    group = pd.Series(np.r_[np.zeros(25), np.arange(1, 40)].repeat(10))
    mine, live = right_but(group == 0, len(group)), right_but(group < 0, len(group))
    assert compare(mine, live, ACCURACY, 0.01, 0)[0].outcome == "worse"
    assert compare(mine, live, ACCURACY, 0.01, 0, group=group)[0].outcome == "undecided"


def test_groups_are_left_out_whole_and_rows_never_come_twice() -> None:
    group = pd.Series(np.random.default_rng(0).integers(0, 30, 500))
    left_out = LeftOut.of(500, group, 0)
    assert (pd.Series(left_out.part).groupby(group).nunique() == 1).all()
    for rows, [counts] in zip(left_out.rows(), np.split(next(left_out.counts()), 20), strict=True):
        assert np.flatnonzero(counts).tolist() == rows.tolist() and counts.max() == 1


def test_drawn_rows_are_as_many_as_there_are() -> None:
    [counts] = Drawn(50, 0).counts()
    assert counts.shape == (1000, 50) and (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.2)


def judged(errors: Array, judge: Any) -> tuple[Evaluation, Any]:
    frame = pd.DataFrame({"x": np.zeros(len(errors))})
    kept = Data(frame, pd.Series(np.zeros(len(errors))))
    answers = [{"value": error} for error in errors.tolist()]
    values = judge(kept.truth, pd.DataFrame(answers), frame)
    found = Evaluation("other", [], frame, np.empty(0), np.empty(0), None, values, [])
    return found, judged_at(judge, kept, answers)


def within_one(truth: Any, answers: Any, frame: Any) -> dict[str, float]:
    if len(truth) < 100:
        raise ValueError("too few")
    return {"within_one": float((answers["value"].abs() < 1).mean())}


@pytest.mark.parametrize(("spread", "outcome"), [(1.0, "good"), (1.5, "worse"), (0.5, "better")])
def test_the_owners_metrics_are_compared_too(spread: float, outcome: str) -> None:
    errors = np.random.default_rng(0).normal(size=400)
    mine, live = judged(errors * spread, within_one), judged(errors, within_one)
    own = (mine[1], live[1])
    [found] = compare(mine[0], live[0], [("within_one", True)], 0.01, 0, own)
    assert found.outcome == outcome and found.margin == 0.01 * found.live


def test_what_the_owner_cannot_judge_on_fewer_rows_is_undecided() -> None:
    errors = np.random.default_rng(0).normal(size=100)
    mine, live = judged(errors * 9, within_one), judged(errors, within_one)
    [found] = compare(mine[0], live[0], [("within_one", True)], 0.01, 0, (mine[1], live[1]))
    assert (found.interval, found.outcome) == (None, "undecided")


def test_what_is_compared_is_what_the_gates_ask() -> None:
    texts = ["rmse <= 5", "r2 >= 0.8", "rmse <= 9"]
    live = off_by(np.ones(10))
    assert gated([Gate.parse(text) for text in texts], live) == [("rmse", False), ("r2", True)]
    assert gated([], live) == [("r2", True)]
    assert gated([], judged(np.ones(200), within_one)[0]) == []  # which way is better?


def test_a_little_of_the_simulation(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.simulate_comparison", "--trials", "25"]
    subprocess.run([*command, "--out", tmp_path], cwd=TEMPLATE, check=False, timeout=300)
    found = json.loads((tmp_path / "simulate_comparison.json").read_text())
    for case in found["candidates"]:
        if case["candidate"] == "3 points worse" and case["rows"] >= 1000:
            assert case["worse"] >= 0.9
        elif case["candidate"] in ("equal", "equal, groups of 10"):
            assert case["worse"] <= 0.2  # of 25, 6 would be one in 1,000 if 5 % are refused
    assert found["clean"]["alarms"] == 0 and not any(found["faults"]["missed"].values())
