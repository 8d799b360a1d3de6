"""The model is judged by the right numbers, whatever kind of model it is."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training import metrics
from training.confidence import intervals
from training.data import Data
from training.errors import TrainingError
from training.evaluate import evaluate
from training.kinds import kind_of

NAMES = pd.Series(["ok", "fraud", "ok", "ok"])
FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})


def answers(values: Any) -> list[dict[str, Any]]:
    return [{"label": value} for value in np.asarray(values).tolist()]


def test_a_model_that_knows_nothing_is_no_better_than_the_class_is_common() -> None:
    truth = pd.Series(["fraud"] * 10 + ["ok"] * 990)
    frame = pd.DataFrame({"x": np.arange(1000.0)})
    model = DummyClassifier().fit(frame, truth)
    found = evaluate(model, Data(frame, truth), answers(["ok"] * 1000), positive="fraud").metrics
    assert found["average_precision"] == pytest.approx(0.01)
    assert found["precision"] == 0 and found["recall"] == 0
    assert list(found)[0] == "precision" and found["accuracy"] == 0.99


def test_metrics_of_the_positive_class() -> None:
    truth = np.array(["ok", "fraud", "fraud", "ok", "ok"])
    said = np.array(["fraud", "fraud", "ok", "ok", "ok"])
    score = np.array([0.9, 0.8, 0.4, 0.3, 0.1])
    probability = np.column_stack([score, 1 - score])
    found = metrics.classification(truth, said, probability, ["fraud", "ok"], None, "fraud")
    assert found["precision"] == 0.5 and found["recall"] == 0.5
    assert found["average_precision"] == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    assert found["roc_auc"] == pytest.approx(4 / 6)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, probability))
    assert found["brier_score"] == pytest.approx(np.mean((score - (truth == "fraud")) ** 2))


def test_weights_count_as_so_many_rows() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 4, 60)
    code = rng.integers(0, 2, 60)
    truth, said = np.array(["a", "b"])[code], np.array(["a", "b"])[rng.integers(0, 2, 60)]
    score = rng.random(60)
    probability = np.column_stack([1 - score, score])
    many = np.repeat(np.arange(60), weights)
    assert metrics.classification(
        truth, said, probability, ["a", "b"], weights, "b"
    ) == pytest.approx(
        metrics.classification(truth[many], said[many], probability[many], ["a", "b"], None, "b")
    )
    numbers, guess = rng.normal(size=60), rng.normal(size=60)
    assert metrics.regression(numbers, guess, weights) == pytest.approx(
        metrics.regression(numbers[many], guess[many]), rel=0.1
    )


def test_a_class_that_the_model_never_learnt_counts_as_wrong() -> None:
    model = LogisticRegression().fit(FRAME[:3], ["a", "b", "a"])
    truth = pd.Series(["a", "b", "c", "a"])
    found = evaluate(model, Data(FRAME, truth), answers(["a", "b", "a", "a"]))
    assert found.classes == ["a", "b", "c"] and found.probability is not None
    assert found.metrics["accuracy"] == 0.75
    assert (found.probability[:, 2] == 0).all() and math.isfinite(found.metrics["log_loss"])


class Plain:
    """An estimator of no library: no tags, no score, no predict_proba."""

    def fit(self, frame: Any, truth: Any) -> None:
        self.known = truth

    def predict(self, frame: Any) -> Any:
        return np.zeros(len(frame))


class Ranker:
    def fit(self, frame: Any, truth: Any, *, qid: Any = None) -> None: ...


WHOLE = pd.Series([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("model", "truth", "positive", "kind"),
    [
        (Plain(), NAMES, None, "classification"),
        (Plain(), pd.Series([True, False]), None, "classification"),
        (Plain(), WHOLE, None, "regression"),
        (Plain(), WHOLE, 1, "classification"),
        (Plain(), pd.Series([0.5, 1.5]), None, "regression"),
        (Plain(), None, None, "other"),
        (Plain(), pd.DataFrame({"a": [1], "b": [2]}), None, "other"),
        (Plain(), pd.Series([["a"], ["a", "b"]]), None, "other"),
        (Plain(), pd.Series(pd.date_range("2026-01-01", periods=2)), None, "other"),
        (Ranker(), WHOLE, None, "other"),
        (RandomForestClassifier(), WHOLE, None, "classification"),
        (make_pipeline(StandardScaler(), LogisticRegression()), WHOLE, None, "classification"),
        (make_pipeline(StandardScaler(), Ridge()), WHOLE, None, "regression"),
        (SimpleNamespace(classes_=[0, 1]), WHOLE, None, "classification"),
        (SimpleNamespace(classes_=[]), WHOLE, None, "regression"),
        (IsolationForest(), WHOLE, None, "other"),
        (KMeans(), WHOLE, None, "other"),
        (IsolationForest(), NAMES, None, "classification"),
    ],
)
def test_what_kind_of_model_it_is(model: Any, truth: Any, positive: Any, kind: str) -> None:
    assert kind_of(model, truth, positive) == kind


def test_codes_without_classes_are_judged_as_numbers_and_said_so() -> None:
    found = evaluate(Plain(), Data(FRAME, WHOLE), [{"label": 0.0}] * 4)
    assert found.kind == "regression" and "return them as text" in found.notes[0]


def test_a_model_with_codes_for_classes_is_judged_by_the_names_it_answers() -> None:
    model = LogisticRegression().fit(FRAME, [0, 1, 0, 0])
    found = evaluate(model, Data(FRAME, NAMES), answers(NAMES), positive="fraud")
    assert found.classes == ["fraud", "ok"] and found.probability is None
    assert found.metrics["accuracy"] == found.metrics["recall"] == 1


@pytest.mark.parametrize(
    ("truth", "said", "message"),
    [
        (WHOLE, ["stays"] * 4, "first field must hold a number, as the truth does; got 'stays'"),
        (NAMES, [0, 1, 0, 1], "as the truth has it, one of 'fraud', 'ok'; got 0"),
        (NAMES, ["ok", "ok", "ok", None], "one of 'fraud', 'ok'; got None"),
        (WHOLE, [1.0, 2.0, None, 1.0], "must hold a number, as the truth does; got None"),
    ],
)
def test_answers_that_are_no_truth_are_refused_unless_there_is_a_judge(
    truth: Any, said: list[Any], message: str
) -> None:
    given = [{"label": value} for value in said]
    with pytest.raises(TrainingError, match=message):
        evaluate(Plain(), Data(FRAME, truth), given)
    found = evaluate(Plain(), Data(FRAME, truth), given, judge=lambda t, a, f: {"rows": len(a)})
    assert found.kind == "other" and found.metrics == {"rows": 4}


def test_the_owners_judge_gets_all_there_is_and_adds_to_the_metrics() -> None:
    def judge(truth: Any, answers: pd.DataFrame, frame: pd.DataFrame) -> dict[str, float]:
        assert truth.tolist() == NAMES.tolist() and frame["x"].tolist() == [0, 1, 2, 3]
        missed = (truth == "fraud") & (answers["label"] != truth)
        return {"cost": 100 * missed.sum() + answers["score"].sum()}

    given = [{"label": "ok", "score": 0.5}] * 4
    found = evaluate(Plain(), Data(FRAME, NAMES), given, judge=judge)
    assert found.metrics["cost"] == 102 and found.metrics["accuracy"] == 0.75


def test_without_truth_the_judge_alone_judges() -> None:
    found = evaluate(KMeans(), Data(FRAME), answers([0] * 4), judge=lambda t, a, f: {"k": a.size})
    assert (found.kind, found.metrics) == ("other", {"k": 4.0})
    assert evaluate(KMeans(), Data(FRAME), answers([0] * 4)).metrics == {}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0.5, "judge: returned float, expected"),
        ({"a b": 1}, "use letters, digits and _"),
        ({"cost": float("nan")}, "judge: metric 'cost' is nan"),
        ({"cost": "high"}, "judge: metric 'cost': could not convert"),
    ],
)
def test_what_a_judge_may_not_return(returned: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        evaluate(Plain(), Data(FRAME), answers([0] * 4), judge=lambda t, a, f: returned)


@pytest.mark.parametrize(
    ("truth", "message"),
    [(None, "POSITIVE: load_data gives no truth"), (NAMES, "'froud' is none of the classes")],
)
def test_a_positive_class_that_does_not_exist_is_named(truth: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        evaluate(Plain(), Data(FRAME, truth), answers(NAMES), positive="froud")


def test_a_predict_proba_that_wants_other_columns_leaves_out_the_curves() -> None:
    model = LogisticRegression().fit(FRAME.assign(more=1.0), NAMES)
    found = evaluate(model, Data(FRAME, NAMES), answers(NAMES))
    assert found.probability is None and "roc_auc" not in found.metrics
    assert found.notes[0].startswith("no curves: predict_proba of load_data's columns: ")


def test_a_single_row_is_judged_by_what_one_row_can_tell() -> None:
    truth = pd.Series([3.0])
    found = evaluate(Ridge(), Data(FRAME[:1], truth), answers([2.0]))
    assert found.metrics == {"mae": 1, "rmse": 1, "median_error": 1, "max_error": 1}


def test_intervals_of_weighted_rows_hold_the_metric() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200)})
    truth, weights = frame["x"] + rng.normal(size=200), pd.Series(rng.random(200))
    found = evaluate(Ridge(), Data(frame, truth, weights), answers(frame["x"]))
    for name, (low, high) in intervals(found, 0).items():
        assert low < found.metrics[name] < high
    assert intervals(found, 0).keys() == {"r2", "mae", "rmse"}
