"""Any estimator is fitted once, on the right rows and with all that it takes, and then judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs
from other_models import Constant, Ranker, Session, card, change, fitted, small
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import toy
from service.artifact import load_model
from training.data import Data
from training.errors import TrainingError
from training.fit import fit, is_fitted


@pytest.mark.parametrize(
    "model",
    [
        fitted(LinearRegression()),
        fitted(make_pipeline(StandardScaler(), LinearRegression())),
        fitted(Constant()),
        FrozenEstimator(fitted(LinearRegression())),
    ],
)
def test_an_estimator_that_came_fitted_is_left_as_it_is(
    model: Any, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = model.predict(small()[0]).tolist()
    change(user, build=lambda: model)
    manifest = runs.train(tmp_path)
    assert load_model(tmp_path, manifest).predict(small()[0]).tolist() == before
    assert manifest.metrics["r2"] < 0.1
    assert "came already trained" in card(tmp_path) and "60 rows" in card(tmp_path)


@pytest.mark.parametrize(
    "model", [LinearRegression(), make_pipeline(StandardScaler(), Constant()), Constant()]
)
def test_an_estimator_that_was_not_fitted_is_not_taken_for_one(model: Any) -> None:
    assert not is_fitted(model)
    assert is_fitted(fitted(model))


def test_a_model_and_a_few_rows_are_enough(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    change(
        user,
        build=Session,
        load_data=lambda: small()[0][:3],
        predict=lambda model, frame: {"value": model.run(frame)},
    )
    manifest = runs.train(tmp_path)
    assert manifest.metrics == {} and manifest.outputs.kind == "other" and manifest.data.rows == 3
    assert "Judged on nothing" in card(tmp_path) and "It came already trained" in card(tmp_path)


def test_a_detector_is_judged_by_the_owners_judge(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def judge(truth: Any, answers: pd.DataFrame, frame: pd.DataFrame) -> dict[str, float]:
        assert truth is None and len(answers) == len(frame)
        return {"flagged": (answers["value"] == -1).mean()}

    change(
        user,
        load_data=lambda: small()[0],
        build=lambda: IsolationForest(n_estimators=5, contamination=0.2, random_state=0),
        judge=judge,
        GATES=["flagged <= 0.9"],
    )
    manifest = runs.train(tmp_path)
    assert 0 < manifest.metrics["flagged"] <= 0.9
    assert "flagged" in card(tmp_path) and "✓ passed" in card(tmp_path)
    user.setattr(toy, "GATES", ["flagged <= 0"])
    with pytest.raises(TrainingError, match=r"flagged <= 0 \(reached"):
        runs.train(tmp_path)


def test_weights_reach_fit_and_the_metrics(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = Constant()
    weights = np.arange(60) % 3 + 1.0
    change(user, build=lambda: model, load_data=lambda: (*small(), weights))
    manifest = runs.train(tmp_path)
    [call] = model.fits
    assert (call["weights"] == weights[call["frame"]["a"].astype(int)]).all()
    frame, truth = small()
    held = ~frame["a"].isin(call["frame"]["a"])
    errors = np.abs(truth[held] - model.mean_)
    assert manifest.metrics["mae"] == pytest.approx(np.average(errors, weights=weights[held]))


def test_a_fit_without_weights_is_said(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    change(user, build=KNeighborsRegressor, load_data=lambda: (*small(), np.ones(60)))
    runs.train(tmp_path)
    assert "KNeighborsRegressor takes no weights in fit" in card(tmp_path)


def test_weights_find_their_way_into_a_pipeline_and_a_search() -> None:
    pipeline = make_pipeline(StandardScaler(), Ridge())
    frame, truth = small(lambda y: pd.Series(y))
    data = Data(frame, truth, pd.Series(np.arange(60) % 5 + 1.0))
    expected = make_pipeline(StandardScaler(), Ridge())
    expected.fit(data.frame, data.truth, ridge__sample_weight=data.weights)
    for model in (pipeline, GridSearchCV(pipeline, {"ridge__alpha": [1.0]})):
        assert fit(model, data) == []
        assert model.predict(data.frame) == pytest.approx(expected.predict(data.frame))


def test_a_ranker_gets_its_groups_in_one_piece(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = Ranker()

    def load_data() -> Any:
        frame, truth = small()
        return frame.assign(query=[f"q{i % 12}" for i in range(60)]), truth

    change(user, build=lambda: model, load_data=load_data, GROUP="query")
    manifest = runs.train(tmp_path)
    [call] = model.fits
    queries = call["frame"]["a"].astype(int) % 12
    assert (np.diff(call["qid"]) >= 0).all() and len(set(call["qid"])) == queries.nunique()
    assert (queries.groupby(call["qid"]).nunique() == 1).all()
    assert [item.name for item in manifest.inputs] == ["a", "b"]
    assert manifest.outputs.kind == "other" and manifest.metrics == {}


def test_the_last_rows_by_time_judge_and_time_is_no_input(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = Constant()

    def load_data() -> Any:
        frame, truth = small()
        return frame.assign(day=pd.date_range("2026-01-01", periods=60)[::-1]), truth

    change(user, build=lambda: model, load_data=load_data, TIME="day")
    manifest = runs.train(tmp_path)
    assert sorted(model.fits[0]["frame"]["a"]) == list(range(15, 60))
    assert [item.name for item in manifest.inputs] == ["a", "b"]


def test_rare_classes_are_named_on_the_card(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ["common"] * 57 + ["twice"] * 2 + ["once"]
    change(
        user,
        load_data=lambda: (small()[0], names),
        build=lambda: DecisionTreeClassifier(random_state=0),
    )
    manifest = runs.train(tmp_path)
    assert manifest.outputs.classes == ["common", "once", "twice"]
    assert "class once: no row to judge by was kept aside" in card(tmp_path)


def test_importance_can_be_switched_off(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    change(user, IMPORTANCE_SECONDS=20)
    runs.train(tmp_path)
    assert "Permutation importance" in card(tmp_path)
    change(user)
    runs.train(tmp_path)
    assert "Permutation importance" not in card(tmp_path)
