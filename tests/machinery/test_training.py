"""Training refuses what could not be served, and gives the same for the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs

import toy
from service.artifact import read_manifest
from training.errors import TrainingError
from training.gates import Gate
from training.inputs import describe, histogram

build = toy.build


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_source_data_and_seed_give_the_same_version(
    user: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    assert runs.train(tmp_path).version == read_manifest(trained).version


def test_other_data_give_another_version(
    user: pytest.MonkeyPatch, trained: Path, tmp_path: Path
) -> None:
    frame, truth = toy.load_data()
    user.setattr(toy, "load_data", lambda: (frame.assign(age=frame["age"] + 1), truth))
    assert runs.train(tmp_path).version != read_manifest(trained).version


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
    assert runs.train(tmp_path / "a").version == runs.train(tmp_path / "b").version


@pytest.mark.parametrize(
    ("changed", "value", "error"),
    [
        ("GATES", ["accuracy >= 0.6", "accuracy >= 1.1"], r"accuracy >= 1.1 \(reached 0."),
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
        runs.train(artifact_dir)
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


def drop_a_row(frame: pd.DataFrame) -> dict[str, Any]:
    return {"label": np.array(["stays"] * (len(frame) - 1))}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (drop_a_row, "returned shape"),
        (lambda f: {"label": np.full(len(f), np.inf)}, "NaN or infinity"),
        (lambda f: {"label": np.array([None] * len(f))}, "nothing, or null, in every row"),
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
        runs.train(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "same name: a"),
        (pd.DataFrame({'so "called"': [1.0]}), "no quotes"),
        (pd.DataFrame({"a": [np.nan]}), "has no values"),
        (pd.DataFrame({"a": [1.0, np.inf]}), "infinite"),
        (pd.DataFrame({"a": [1, "x"]}), "write frame"),
        (pd.DataFrame(index=range(3)), "no columns"),
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
