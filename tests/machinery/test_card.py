"""The model card: whole in itself, complete for each kind of model, and unmoved by odd data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judged import (
    FRAME,
    Page,
    binary,
    classifier,
    evaluation,
    manifest_of,
    multiclass,
    regression,
    without_probability,
)

from service.artifact import Golden
from training.card import render_card
from training.evaluate import Evaluation, Importance

ANY = ["Confusion matrix", "Permutation importance"]
SCORED = ["ROC curve", "Precision-recall curve", "Calibration"]
ERRORS = ["Predicted", "Residuals", "Histogram of the residuals", "Permutation importance"]


def card(judged: Evaluation, frame: pd.DataFrame = FRAME, **given: Any) -> str:
    """Return the card of a model that learnt from `frame` and was judged as given."""
    names = [str(name) for name in frame.columns]
    important = replace(judged, importance=[Importance(name, 0.1, 0.02) for name in names])
    return render_card(manifest_of(judged, frame, **given), important)


KINDS = [
    pytest.param(binary, ANY + SCORED, id="binary"),
    pytest.param(multiclass, ANY + SCORED, id="multiclass"),
    pytest.param(without_probability, ANY, id="without probability"),
    pytest.param(regression, ERRORS, id="regression"),
]


@cache
def drawn(judged: Callable[[], Evaluation]) -> str:
    return card(judged())


@pytest.mark.parametrize(("judged", "expected"), KINDS)
def test_has_the_pictures_of_its_kind(
    judged: Callable[[], Evaluation], expected: list[str]
) -> None:
    page = Page(drawn(judged))

    wanted = [*expected, "Histogram of age", "Histogram of plan"]
    assert len(page.pictures) == len(wanted)
    assert all(any(alt.startswith(start) for alt in page.pictures) for start in wanted)


@pytest.mark.parametrize(("judged", "_"), KINDS)
def test_asks_nothing_of_other_hosts(judged: Callable[[], Evaluation], _: list[str]) -> None:
    html = drawn(judged)
    page = Page(html)

    own = {"docs", "metadata", "openapi.json"}
    assert own < set(page.links)
    assert all(link in own or link.startswith("data:") for link in page.links)
    assert "script" not in page.tags
    assert "url(" not in html and "@import" not in html


@pytest.mark.parametrize(("judged", "_"), KINDS)
def test_is_the_same_for_the_same_model(judged: Callable[[], Evaluation], _: list[str]) -> None:
    assert drawn(judged) == card(judged())


def test_says_where_the_model_comes_from() -> None:
    text = Page(drawn(binary)).text

    for fact in ("churn", "0a1b2c3d", "A survey", "f" * 40, "uncommitted", "b" * 64, "numpy 2.0.0"):
        assert fact in text


def test_shows_no_row_of_the_data() -> None:
    golden = Golden(
        instances=[{"age": 1.0, "plan": "12 Long Street"}],
        predictions=[{"label": "stays", "advice": "write to 12 Long Street"}],
    )
    assert "Long Street" not in card(binary(), golden=golden, private=("plan", "advice"))


def test_says_which_gates_passed() -> None:
    judged = evaluation(["a", "b"] * 30, ["a", "b"] * 30, ["a", "b"], accuracy=1.0)
    text = Page(card(judged, gates=("accuracy >= 0.5", "accuracy <= 0.6"))).text

    assert "✓ passed accuracy ≥ 0.5" in text
    assert "✗ failed accuracy ≤ 0.6" in text
    assert "too few to be sure" not in text


def test_warns_of_a_gate_passed_on_too_few_rows() -> None:
    judged = evaluation(["a"] * 9 + ["b"], ["a"] * 10, ["a", "b"], accuracy=0.9)
    text = Page(card(judged, gates=("accuracy >= 0.8",))).text

    assert "✓ passed" in text
    assert "10 rows are too few to be sure" in text
    assert "0.596 to 0.982" in text  # Wilson's interval for 9 of 10
    assert "Always answering “a” would be right 90.0% of the time" in text


def test_gives_no_interval_that_the_rows_do_not_support() -> None:
    perfect = evaluation(["a", "b"] * 5, ["a", "b"] * 5, ["a", "b"], accuracy=1.0)
    few = regression(rows=5)

    assert "0.722 to 1" in Page(card(perfect)).text
    assert "with 95% confidence on 5 rows" not in Page(card(few)).text
    assert "with 95% confidence on 60 rows" in Page(drawn(regression)).text


@pytest.mark.parametrize("name", ["<b>bold</b>", "$x_1$", "_a", "it's", "&amp;", "年齢", "$"])
def test_shows_awkward_names_as_they_are(name: str) -> None:
    frame = pd.DataFrame({name: [1.0, 2.0, 3.0], "text": [name, "b", name]})
    html = card(classifier(["other", name]), frame)
    page = Page(html)

    assert "<b>bold" not in html and name in page.text
    assert any(alt.startswith(f"Histogram of {name}: ") for alt in page.pictures)
    for start in ("Confusion", "Precision-recall", "Permutation", "Histogram of text"):
        picture = next(svg for alt, svg in page.pictures.items() if alt.startswith(start))
        assert any((text or "").startswith(name) for text in picture.itertext()), start


def test_survives_control_characters_in_values() -> None:
    frame = pd.DataFrame({"a": ["\x1b[31m", "x", "y"]})
    judged = classifier(["\x07", "fine"])

    assert Page(card(judged, frame)).pictures


def test_draws_only_the_most_important_of_many_inputs() -> None:
    frame = pd.DataFrame({f"input {i}": np.arange(20.0) for i in range(200)})
    html = card(binary(), frame)
    page = Page(html)

    assert sum(alt.startswith("Histogram") for alt in page.pictures) == 30
    assert "The 30 most important of 200 inputs are drawn" in page.text
    assert "input 199" in page.text
    assert len(html) < 1_500_000


def test_stays_small_for_many_rows_and_classes() -> None:
    crowd = classifier([f"class {i}" for i in range(60)], rows=6000)

    assert len(card(regression(rows=50_000))) < 1_500_000
    assert len(card(crowd)) < 1_500_000
    assert "commonest of 60 classes" in Page(card(crowd)).text


def test_says_how_much_is_missing() -> None:
    frame = pd.DataFrame({"age": [1.0, None, None, 4.0], "plan": [None, "a", "b", "b"]})
    text = Page(card(binary(), frame)).text

    assert "1 to 4, 50.0% missing" in text
    assert "a, b, 25.0% missing" in text


def test_survives_held_out_rows_of_one_class() -> None:
    pictures = Page(card(classifier(["a", "b"], seen=1))).pictures

    assert not any(alt.startswith("ROC") for alt in pictures)
    assert any(alt.startswith("Confusion") for alt in pictures)


def test_survives_inputs_and_targets_that_never_vary() -> None:
    frame = pd.DataFrame({"constant": [3.0] * 5, "one": ["x"] * 5, "flag": [True] * 5})
    judged = evaluation([1.0] * 20, [1.0] * 20, [], r2=1.0, rmse=0.0, mae=0.0)
    page = Page(card(judged, frame))

    assert "always 3" in page.text
    assert len(page.pictures) == len(ERRORS) + 3


def test_shows_no_value_of_free_text_and_of_dates_the_type() -> None:
    texts = [f"I am number {n}" for n in range(40)]
    frame = pd.DataFrame({"note": texts, "code": pd.Categorical(texts)})
    html = card(binary(), frame.assign(at=pd.date_range("2026", periods=40)))
    page = Page(html)

    assert "I am number" not in html
    assert "note text no any text code text no any text" in page.text
    assert "at date and time no any date and time" in page.text
    assert not any(alt.startswith("Histogram") for alt in page.pictures)
