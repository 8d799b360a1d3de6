"""Answers that depend on the rows beside them are refused; golden rows show what a model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs

import toy
from service.artifact import Output
from training.errors import TrainingError
from training.golden import MOST, choose
from training.privacy import is_free_text, texts

answer_of_toy = toy.predict
calls = 0


def by_chance(frame: pd.DataFrame) -> Any:
    global calls
    calls += 1
    return frame["age"] + calls


def sorted_by_age(frame: pd.DataFrame) -> Any:
    return frame.sort_values("age")["age"].to_numpy()


def only_in_company(frame: pd.DataFrame) -> Any:
    return frame["age"] / (len(frame) - 1)


def without_doubles(frame: pd.DataFrame) -> Any:
    return frame["age"][~frame.duplicated()]


def columns_of_those_present(frame: pd.DataFrame) -> Any:
    return pd.get_dummies(frame["plan"])["pro"]


@pytest.mark.parametrize(
    ("depends", "message"),
    [
        (lambda frame: frame["age"] - frame["age"].mean(), r"'more' of row \d+ .* 0.0 alone, "),
        (lambda frame: frame["age"].rank(), r"'more' of row \d+ .* 1.0 alone, "),
        (lambda frame: frame["age"].factorize()[0], r"'more' of row \d+ .* 0 alone, "),
        (lambda frame: np.arange(len(frame)), r"'more' of row \d+ .* 0 alone, "),
        (lambda frame: [[age] for age in frame["age"].cumsum()], r"'more' of row \d+ .* alone"),
        (by_chance, r"'more' of row 0 .* alone, .* among all: .* nor on chance"),
        (sorted_by_age, r"'more' of row \d+ .* alone"),
        (only_in_company, r"row 0 of those kept aside cannot be answered alone: .*infinity"),
        (without_doubles, r"64 rows of those kept aside cannot be answered repeated: .*shape"),
        (columns_of_those_present, r"row \d+ .* cannot be answered alone: KeyError: 'pro'"),
    ],
)
def test_answers_that_depend_on_other_rows_are_refused_by_row_and_field(
    depends: Callable[[pd.DataFrame], Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def predict(model: Any, frame: pd.DataFrame) -> Any:
        return answer_of_toy(model, frame) | {"more": depends(frame)}

    monkeypatch.setattr(runs, "user", toy)
    monkeypatch.setattr(toy, "predict", predict)
    with pytest.raises(TrainingError, match=f"^predict: [^\n]*{message}[^\n]*$"):
        runs.train(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_type_that_depends_on_the_rows_is_no_dependence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def predict(model: Any, frame: pd.DataFrame) -> Any:
        # Floats among gaps, integers without: as pandas has it.
        return answer_of_toy(model, frame) | {"more": frame["age"].where(frame["age"] > 20)}

    monkeypatch.setattr(runs, "user", toy)
    monkeypatch.setattr(toy, "predict", predict)
    manifest = runs.train(tmp_path)
    assert manifest.outputs.fields[-1] == Output(name="more", type="float", nullable=True)
    assert all(type(answer["more"]) is not int for answer in manifest.golden.predictions)


LABEL, SCORE = Output(name="label", type="string"), Output(name="score", type="float")


def test_golden_rows_have_each_class_and_the_extremes() -> None:
    answers: list[dict[str, Any]] = [{"label": "a", "score": i / 1000} for i in range(1000)]
    answers[500]["label"] = "b"
    answers[700]["score"], answers[800]["score"] = -1.0, 9.0
    truth = ["a"] * 900 + ["c"] * 100
    chosen = choose([LABEL, SCORE], answers, truth)
    assert {500, 700, 800, 900} <= set(chosen) and chosen[0] == 0
    assert len(chosen) == len(set(chosen)) == MOST
    assert chosen == choose([LABEL, SCORE], answers, truth)
    # The others are from all over the range.
    rest = sorted(answers[row]["score"] for row in chosen)
    assert max(np.diff([score for score in rest if 0 <= score <= 1])) < 0.1


def test_golden_rows_have_nulls_and_what_is_in_lists() -> None:
    fields = [
        Output(name="score", type="float", nullable=True),
        Output(name="tags", type="list", items="string"),
        Output(name="flag", type="bool"),
        Output(name="vector", type="list", items="float"),
        Output(name="shares", type="object", items="float"),
    ]
    answers: list[dict[str, Any]] = [
        {"score": float(i), "tags": ["x"], "flag": False, "vector": [0.0], "shares": {}}
        for i in range(200)
    ]
    answers[50]["score"], answers[60]["tags"], answers[70]["tags"] = None, [], ["x", "y"]
    answers[80]["flag"] = True
    assert {50, 60, 70, 80, 199} <= set(choose(fields, answers, []))


def test_a_field_of_many_values_leaves_room_for_the_others() -> None:
    answers = [{"label": f"class {i}", "score": i / 1000} for i in range(1000)]
    chosen = choose([LABEL, SCORE], answers, [answer["label"] for answer in answers])
    assert 999 in chosen and len(chosen) == MOST


def test_few_rows_are_all_golden() -> None:
    answers = [{"label": "a", "score": 0.5}] * 3
    assert sorted(choose([LABEL, SCORE], answers, [])) == [0, 1, 2]


@pytest.mark.parametrize(
    ("said", "free"),
    [
        ([], False),
        (["yes", "no"] * 10, False),
        ([f"class {i % 100}" for i in range(1000)], False),
        ([f"class {i % 101}" for i in range(1000)], True),
        ([f"name {i}" for i in range(20)], False),
        ([f"name {i}" for i in range(21)], True),
        (["yes", "no", "x" * 61], True),
    ],
)
def test_free_text_is_much_or_long(said: list[str], free: bool) -> None:
    assert is_free_text(said) is free


def test_text_is_in_values_elements_and_keys() -> None:
    def found(kind: Any, items: Any, *values: Any) -> list[str]:
        field = Output(name="y", type=kind, items=items, nullable=True)
        return texts(field, [{"y": value} for value in values])

    assert found("string", None, "a", None, "b") == ["a", "b"]
    assert found("list", "string", ["a", "b"], [], None) == ["a", "b"]
    assert found("object", "float", {"a": 1.0}, None) == ["a"]
    assert found("object", "string", {"a": "b"}) == ["a", "b"]
    assert found("float", None, 1.0) == found("list", "int", [1]) == []
