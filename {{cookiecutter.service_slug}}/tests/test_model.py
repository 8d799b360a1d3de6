"""Yours, beside model.py: what your model must get right, whatever else changes.

`instances` are rows that training kept aside, `answer` gives what the service would say to them.
"""

from __future__ import annotations

from typing import Any

from tests.conftest import near


def test_what_the_model_said_when_it_was_trained_comes_out_again(
    answer: Any, instances: Any, manifest: Any
) -> None:
    assert answer(instances) == near(manifest.golden.predictions)


def test_a_row_gets_the_same_answer_alone_as_among_others(answer: Any, instances: Any) -> None:
    alone = [answer([instance])[0] for instance in instances]
    assert alone == near(answer(instances))


# Add what your model must get right: cases that every version has to answer so, a direction in
# which the answer must move, a bound that it must keep. For the model that the template brings:
#
# def test_larger_tumours_are_not_judged_more_harmless(answer: Any, instances: Any) -> None:
#     larger = [instance | {"worst area": 2 * instance["worst area"]} for instance in instances]
#     for before, after in zip(answer(instances), answer(larger), strict=True):
#         assert after["score"] >= before["score"]
