"""What model.py may say and return, and how it is told that it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs
from other_models import Constant, Picky, change, small
from sklearn.cluster import KMeans
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge

import toy
from training.errors import TrainingError


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
    manifest = runs.train(tmp_path)
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
        ((*small(), np.arange(60)), "weights must be greater than 0; leave out the rows"),
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
        runs.train(tmp_path)


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
        runs.train(tmp_path)


def test_a_name_that_model_py_lacks_is_named_with_an_example(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user.delattr(toy, "SEED")
    with pytest.raises(TrainingError, match="SEED is missing; write, for example: SEED = 0"):
        runs.train(tmp_path)


@pytest.mark.parametrize("returned", [lambda: small()[0], lambda: small(lambda y: None)])
def test_without_truth_there_are_no_gates(
    returned: Any, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, load_data=returned, build=KMeans, GATES=["r2 >= 0.5"])
    with pytest.raises(TrainingError, match="no truth to judge by; define judge"):
        runs.train(tmp_path)


def breaks(*_: Any) -> Any:
    raise KeyError("no such key")


@pytest.mark.parametrize("name", ["load_data", "build", "predict", "judge"])
def test_errors_of_the_owners_code_are_one_line_and_their_own_frames(
    name: str, user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, **{name: breaks})
    with pytest.raises(TrainingError) as error:
        runs.train(tmp_path)
    assert str(error.value) == f"{name}: KeyError: 'no such key'"
    assert error.value.trace.count("File") == 1 and "in breaks" in error.value.trace


def test_text_for_an_estimator_that_wants_numbers_is_refused_with_what_to_write(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(user, build=Picky, load_data=lambda: (small()[0], ["a", "b"] * 30))
    with pytest.raises(TrainingError, match="fit: could not convert .*return numbers as the truth"):
        runs.train(tmp_path)


def test_a_model_that_cannot_be_pickled_is_refused_with_what_to_write(
    user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = Constant()
    model.answer = lambda: 1  # type: ignore[attr-defined]
    change(user, build=lambda: model)
    with pytest.raises(TrainingError, match="cannot be written by pickle: .*top of model.py"):
        runs.train(tmp_path)


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
    runs.train(tmp_path)
