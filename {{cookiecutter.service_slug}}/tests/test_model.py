"""Yours, beside model.py: what your model must get right, whatever else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import model
from service.artifact import load_model, read_manifest
from service.engine import Predictor, same_answer
from service.schema import Schema

ARTIFACT = Path(__file__).parent.parent / "artifact"
MANIFEST = read_manifest(ARTIFACT)
GOLDEN = MANIFEST.golden  # rows that training kept aside, and what it answered to them


@pytest.fixture(scope="module")
def answer() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """The model of the artifact with `predict` of model.py: instances in, their answers out."""
    schema = Schema(MANIFEST.inputs, max_instances=1000)
    predict = Predictor(model.predict, load_model(ARTIFACT, MANIFEST), schema)
    names = [item.name for item in MANIFEST.inputs]
    return lambda instances: predict([tuple(i.get(name) for name in names) for i in instances])


def test_the_answers_of_training_come_out_again(answer: Any) -> None:
    answers = answer(GOLDEN.instances)
    assert len(answers) == len(GOLDEN.predictions)
    assert all(map(same_answer, answers, GOLDEN.predictions))


def test_a_row_gets_the_same_answer_alone_as_among_others(answer: Any) -> None:
    alone = [answer([instance])[0] for instance in GOLDEN.instances]
    assert all(map(same_answer, alone, answer(GOLDEN.instances)))


# Add what your model must get right: cases that every version has to answer so, a direction in
# which the answer must move, a bound that it must keep. For the model that the template comes with:
#
# def test_larger_tumours_are_not_judged_more_harmless(answer: Any) -> None:
#     instances = GOLDEN.instances
#     larger = [i | {"worst area": 2 * i["worst area"]} for i in instances]
#     for before, after in zip(answer(instances), answer(larger), strict=True):
#         assert after["score"] >= before["score"]
