"""Training refuses what could not be served, and gives the same for the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import toy
from service.artifact import load_model, read_manifest
from training import __main__ as training
from training.data import Data
from training.errors import TrainingError
from training.fit import fit, is_fitted
from training.gates import Gate
from training.inputs import describe, histogram


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The toy in model.py's place; set attributes of `toy` to change it."""
    monkeypatch.setattr(training, "user", toy)
    return monkeypatch


build = toy.build


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_source_data_and_seed_give_the_same_version(
    user: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    assert training.train(tmp_path).version == read_manifest(trained).version


def test_other_data_give_another_version(
    user: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    frame, truth = toy.load_data()
    user.setattr(toy, "load_data", lambda: (frame.assign(age=frame["age"] + 1), truth))
    assert training.train(tmp_path).version != read_manifest(trained).version


def test_the_seed_reaches_estimators_without_one_of_their_own(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    def unseeded() -> Any:
        prepare = build().steps[0][1]
        return make_pipeline(prepare, SGDClassifier(loss="log_loss"))

    user.setattr(toy, "build", unseeded)
    user.setattr(toy, "GATES", [])
    assert training.train(tmp_path / "a").version == training.train(tmp_path / "b").version


@pytest.mark.parametrize(
    ("changed", "value", "error"),
    [
        ("GATES", ["accuracy >= 0.6", "accuracy >= 1.1"], "gate 'accuracy >= 1.1' failed: 0."),
        ("GATES", ["no_such >= 1"], "no metric 'no_such'; there are accuracy"),
        ("GATES", ["accuracy > 1"], "GATES: 'accuracy > 1' is not of the form"),
        ("build", lambda: build().set_params(logisticregression__max_iter=-1), "max_iter"),
    ],
)
def test_failed_training_leaves_the_artifact_as_it_was(
    changed: str, value: Any, error: str, user: pytest.MonkeyPatch, artifact_dir: Path
) -> None:
    before = snapshot(artifact_dir)
    user.setattr(toy, changed, value)
    with pytest.raises((TrainingError, ValueError), match=error):
        training.train(artifact_dir)
    assert snapshot(artifact_dir) == before


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("accuracy >= 0.9", True),
        ("accuracy>=0.90001", False),
        ("rmse <= 60", True),
        (" rmse <= 59.9 ", False),
    ],
)
def test_gates(text: str, passes: bool) -> None:
    assert Gate.parse(text).passes({"accuracy": 0.9, "rmse": 60.0}) is passes


@pytest.mark.parametrize("text", ["accuracy", "accuracy > 0.9", "accuracy >= high", ">= 1"])
def test_a_gate_that_does_not_parse_is_named(text: str) -> None:
    with pytest.raises(TrainingError, match="GATES: .*accuracy >= 0.95"):
        Gate.parse(text)


def test_a_gate_on_an_unknown_metric_lists_those_there_are() -> None:
    with pytest.raises(TrainingError, match="no metric 'auc'; there are accuracy, r2"):
        Gate.parse("auc >= 1").passes({"accuracy": 1.0, "r2": 1.0})


def small(truth: Any = "numbers", rows: int = 60) -> tuple[Any, ...]:
    """Return data whose truth follows from the inputs."""
    frame = pd.DataFrame({"a": np.arange(rows, dtype=float), "b": np.arange(rows) % 7 * 1.0})
    numbers = (frame["a"] + frame["b"]).to_numpy()
    return frame, numbers if isinstance(truth, str) else truth(numbers)


def change(user: pytest.MonkeyPatch, **names: Any) -> None:
    """Put the names into the toy, with data of two numbers, a regression and no gates."""
    default = {
        "GATES": [],
        "IMPORTANCE_SECONDS": 0,
        "load_data": small,
        "build": LinearRegression,
        "predict": lambda model, frame: {"value": model.predict(frame)},
    }
    for name, value in {**default, **names}.items():
        user.setattr(toy, name, value, raising=False)


def card(folder: Path) -> str:
    [path] = folder.glob("card-*.html")
    return " ".join(path.read_text().split())


@pytest.mark.parametrize(
    ("truth", "metrics"),
    [
        (lambda y: y, True),
        (lambda y: list(y), True),
        (lambda y: y[:, None], True),
        (lambda y: pd.DataFrame({"y": y}), True),
        (lambda y: pd.Series(y, dtype="Float64"), True),
        (lambda y: pd.Series(y, index=np.arange(len(y)) + 7), True),
        (lambda y: pd.DataFrame({"y": y, "z": -y}), False),
        (lambda y: np.column_stack([y, -y]), False),
    ],
)
def test_truth_comes_in_any_shape(
    truth: Any, metrics: bool, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def predict(model: Any, frame: pd.DataFrame) -> dict[str, Any]:
        return {"value": model.predict(frame).reshape(len(frame), -1)[:, 0]}

    change(user, load_data=lambda: small(truth), predict=predict)
    manifest = training.train(tmp_path)
    if metrics:
        assert manifest.metrics["r2"] == pytest.approx(1)
    assert bool(manifest.metrics) is metrics
    assert manifest.outputs.kind == ("regression" if metrics else "other")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros((20, 2)), "expected a DataFrame of inputs, .*; got ndarray"),
        (small() * 2, r"got \(DataFrame, ndarray, DataFrame, ndarray\)"),
        ((small()[0], np.zeros(59)), "60 rows of inputs and 59 of truth"),
        ((small()[0], "target"), "the truth must be a Series, .*; got str"),
        ((small()[0], [*range(59), None]), "the truth is missing in 1 rows"),
        ((small()[0], [*range(59), "x"]), "the truth mixes int, str"),
        ((small()[0], [*range(59), np.inf]), "the truth has infinite values"),
        ((small()[0], pd.Series(range(60), index=range(60)[::-1])), "in another order"),
        ((*small(), np.ones(3)), r"weights of shape \(3,\), expected \(60,\)"),
        ((*small(), np.full(60, -1)), "weights must be numbers of 0 or more"),
        ((*small(), ["heavy"] * 60), "load_data: weights: could not convert"),
        (pd.DataFrame({"a": []}), r"returned a frame of shape \(0, 1\)"),
        (small(rows=10), "10 rows; to learn and to judge takes 16"),
    ],
)
def test_what_load_data_may_not_return(
    returned: Any, message: str, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, load_data=lambda: returned)
    with pytest.raises(TrainingError, match=message):
        training.train(tmp_path)


@pytest.mark.parametrize(
    ("changed", "value", "message"),
    [
        ("TEST_SHARE", 25, "TEST_SHARE: 25 is no share"),
        ("GATES", "r2 >= 1", "GATES: expected a list"),
        ("IMPORTANCE_SECONDS", -1, "IMPORTANCE_SECONDS: -1"),
        ("GROUP", "patient", "GROUP: load_data's frame has no column 'patient'; it has a, b"),
        ("build", lambda: None, "build: returned nothing"),
        (
            "build",
            lambda: Ridge,
            r"build: returned the class Ridge, expected an estimator: Ridge\(\)",
        ),
    ],
)
def test_what_model_py_may_not_say(
    changed: str, value: Any, message: str, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, **{changed: value})
    with pytest.raises(TrainingError, match=message):
        training.train(tmp_path)


def test_a_name_that_model_py_lacks_is_named_with_an_example(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user.delattr(toy, "SEED")
    with pytest.raises(TrainingError, match="SEED is missing; write, for example: SEED = 0"):
        training.train(tmp_path)


class Constant:
    """An estimator of no library, which counts how often it was fitted and keeps with what."""

    def __init__(self) -> None:
        self.fits: list[dict[str, Any]] = []

    def fit(self, frame: Any, truth: Any, sample_weight: Any = None, **others: Any) -> None:
        self.fits.append({"frame": frame, "weights": sample_weight, **others})
        self.mean_ = float(np.mean(truth))

    def predict(self, frame: Any) -> Any:
        return np.full(len(frame), self.mean_)


class Ranker(Constant):
    def fit(self, frame: Any, truth: Any, *, qid: Any) -> None:  # type: ignore[override]
        super().fit(frame, truth, qid=qid)


def fitted(model: Any) -> Any:
    frame, truth = small()
    model.fit(frame, -truth)
    return model


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
    manifest = training.train(tmp_path)
    assert load_model(tmp_path, manifest).predict(small()[0]).tolist() == before
    assert manifest.metrics["r2"] < 0.1
    assert "came already trained" in card(tmp_path) and "60 rows" in card(tmp_path)


@pytest.mark.parametrize(
    "model", [LinearRegression(), make_pipeline(StandardScaler(), Constant()), Constant()]
)
def test_an_estimator_that_was_not_fitted_is_not_taken_for_one(model: Any) -> None:
    assert not is_fitted(model)
    assert is_fitted(fitted(model))


class Session:
    """Answers, and that is all that it can do."""

    def run(self, frame: pd.DataFrame) -> Any:
        return frame["a"].to_numpy()


def test_a_model_and_a_few_rows_are_enough(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    change(
        user,
        build=Session,
        load_data=lambda: small()[0][:3],
        predict=lambda model, frame: {"value": model.run(frame)},
    )
    manifest = training.train(tmp_path)
    assert manifest.metrics == {} and manifest.outputs.kind == "other" and manifest.data.rows == 3
    assert "Judged on nothing" in card(tmp_path) and "It came already trained" in card(tmp_path)


@pytest.mark.parametrize("returned", [lambda: small()[0], lambda: small(lambda y: None)])
def test_without_truth_there_are_no_gates(
    returned: Any, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, load_data=returned, build=KMeans, GATES=["r2 >= 0.5"])
    with pytest.raises(TrainingError, match="no truth to judge by; define judge"):
        training.train(tmp_path)


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
    manifest = training.train(tmp_path)
    assert 0 < manifest.metrics["flagged"] <= 0.9
    assert "flagged" in card(tmp_path) and "✓ passed" in card(tmp_path)
    user.setattr(toy, "GATES", ["flagged <= 0"])
    with pytest.raises(TrainingError, match="gate 'flagged <= 0' failed"):
        training.train(tmp_path)


def test_weights_reach_fit_and_the_metrics(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = Constant()
    weights = np.arange(60) % 3 + 1.0
    change(user, build=lambda: model, load_data=lambda: (*small(), weights))
    manifest = training.train(tmp_path)
    [call] = model.fits
    assert (call["weights"] == weights[call["frame"]["a"].astype(int)]).all()
    frame, truth = small()
    held = ~frame["a"].isin(call["frame"]["a"])
    errors = np.abs(truth[held] - model.mean_)
    assert manifest.metrics["mae"] == pytest.approx(np.average(errors, weights=weights[held]))


def test_a_fit_without_weights_is_said(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    change(user, build=KNeighborsRegressor, load_data=lambda: (*small(), np.ones(60)))
    training.train(tmp_path)
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
    manifest = training.train(tmp_path)
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
    manifest = training.train(tmp_path)
    assert sorted(model.fits[0]["frame"]["a"]) == list(range(15, 60))
    assert [item.name for item in manifest.inputs] == ["a", "b"]


def test_rare_classes_are_named_on_the_card(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ["common"] * 57 + ["twice"] * 2 + ["once"]
    change(
        user,
        load_data=lambda: (small()[0], names),
        build=lambda: DecisionTreeClassifier(random_state=0),
    )
    manifest = training.train(tmp_path)
    assert manifest.outputs.classes == ["common", "once", "twice"]
    assert "class once: no row to judge by was kept aside" in card(tmp_path)


def test_importance_can_be_switched_off(user: pytest.MonkeyPatch, tmp_path: Path) -> None:
    change(user, IMPORTANCE_SECONDS=20)
    training.train(tmp_path)
    assert "Permutation importance" in card(tmp_path)
    change(user)
    training.train(tmp_path)
    assert "Permutation importance" not in card(tmp_path)


def breaks(*_: Any) -> Any:
    raise KeyError("no such key")


@pytest.mark.parametrize("name", ["load_data", "build", "predict", "judge"])
def test_errors_of_the_owners_code_are_one_line_and_their_own_frames(
    name: str, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, **{name: breaks})
    with pytest.raises(TrainingError) as error:
        training.train(tmp_path)
    assert str(error.value) == f"{name}: KeyError: 'no such key'"
    assert error.value.trace.count("File") == 1 and "in breaks" in error.value.trace


class Picky(Constant):
    def fit(self, frame: Any, truth: Any, sample_weight: Any = None, **others: Any) -> None:
        np.asarray(truth, dtype=float)


def test_text_for_an_estimator_that_wants_numbers_is_refused_with_what_to_write(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, build=Picky, load_data=lambda: (small()[0], ["a", "b"] * 30))
    with pytest.raises(TrainingError, match="fit: could not convert .*return numbers as the truth"):
        training.train(tmp_path)


def test_a_model_that_cannot_be_pickled_is_refused_with_what_to_write(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = Constant()
    model.answer = lambda: 1  # type: ignore[attr-defined]
    change(user, build=lambda: model)
    with pytest.raises(TrainingError, match="cannot be written by pickle: .*top of model.py"):
        training.train(tmp_path)


def nearly(*values: float) -> np.ndarray[Any, Any]:
    return np.resize(np.array(values), 60)


@pytest.mark.parametrize("offset", [0.0, 1e17])
def test_numbers_that_hardly_differ_are_no_obstacle(
    offset: float, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {"near": nearly(0.3, 0.1 + 0.2), "steps": nearly(1e17, 1e17 + 16), "same": nearly(3.0)}
    )
    truth = offset + nearly(0.3, 0.1 + 0.2)
    change(user, load_data=lambda: (frame, truth), build=DummyRegressor)
    training.train(tmp_path)


def drop_a_row(frame: pd.DataFrame) -> dict[str, Any]:
    return {"label": np.array(["stays"] * (len(frame) - 1))}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (drop_a_row, "returned shape"),
        (lambda f: {"label": np.full(len(f), np.nan)}, "NaN or infinity"),
        (lambda f: {"label": np.array([None] * len(f))}, "use numbers, booleans or strings"),
        (lambda f: {"label": np.array(["other"] * len(f))}, "first field must hold the class"),
    ],
)
def test_what_predict_may_not_return(
    answer: Callable[[pd.DataFrame], Any],
    message: str,
    user: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    user.setattr(toy, "predict", lambda model, frame: answer(frame))
    with pytest.raises(TrainingError, match=message):
        training.train(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({0: [1.0]}), "a name"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name: a"),
        (pd.DataFrame({'so "called"': [1.0]}), "no quotes"),
        (pd.DataFrame({"a": [np.nan]}), "has no values"),
        (pd.DataFrame({"a": [1.0, np.inf]}), "infinite"),
        (pd.DataFrame({"a": pd.to_datetime(["2026-01-01"])}), "convert it"),
        (pd.DataFrame({"a": [1, "x"]}), "convert it"),
    ],
)
def test_columns_that_no_request_could_carry_are_refused(frame: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        describe(frame)


def test_inputs_follow_from_the_frame() -> None:
    age, income, plan, member, region = describe(toy.load_data()[0])
    assert (age.type, age.dtype, age.nullable) == ("int", "int64", False)
    assert (income.type, income.nullable) == ("float", True)
    assert age.minimum is not None and age.maximum is not None and 18 <= age.minimum < age.maximum
    assert (plan.type, plan.nullable, plan.categories) == ("string", True, ["basic", "plus", "pro"])
    assert member.type == "bool"
    assert (region.dtype, region.categories) == ("category", ["north", "south"])


def test_histograms_count_every_row_once() -> None:
    frame = toy.load_data()[0].assign(constant=1.0)
    for name in frame.columns:
        found = histogram(frame[name])
        assert sum(found.counts) + found.nulls == len(frame)
