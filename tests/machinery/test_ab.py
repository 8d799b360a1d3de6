"""Who belongs to the share of users, and which answers of a candidate may be given to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ab.assignment import Assignment, Groups
from service.ab.contract import Contract
from service.artifact import Output, Outputs
from service.shadow.client import Answer, Failed

KEYS = [f"customer-{i}" for i in range(10_000)]
PERCENTS = st.floats(0, 100)


def assign(key: str, experiment: str, percent: float) -> Assignment | None:
    return Groups(experiment, percent).of(key)


def groups(percent: float, experiment: str = "1") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"candidate": set(), "control": set()}
    for key in KEYS:
        if one := assign(key, experiment, percent):
            found[one.group].add(key)
    return found


def test_places_are_the_same_for_ever() -> None:
    # A change here moves customers of running experiments to the other side.
    assert assign("customer-1", "1", 39.389968) is None
    assert assign("customer-1", "1", 39.38997) == Assignment("cc01d14ab4d38b60", "candidate")


@given(st.text(), PERCENTS, PERCENTS)
def test_a_higher_percentage_only_adds(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    before, after = assign(key, "1", low), assign(key, "1", high)
    if before and before.group == "candidate":
        assert after and after.group == "candidate"
    # Up to a half of all, nobody leaves the control group either.
    if before and before.group == "control" and high <= 50:
        assert after and after.group == "control"
    assert not before or not after or before.key == after.key


def test_groups_are_as_large_as_asked_for_and_alike() -> None:
    for percent in (1, 5, 20, 50):
        found = groups(percent)
        for group in found.values():
            assert abs(len(group) - 100 * percent) < 4 * (100 * percent) ** 0.5
        assert not found["candidate"] & found["control"]
    assert groups(0) == {"candidate": set(), "control": set()}
    assert groups(100) == {"candidate": set(KEYS), "control": set()}
    whole = groups(80)
    assert len(whole["candidate"] | whole["control"]) == len(KEYS)


def test_another_experiment_draws_anew() -> None:
    one, other = groups(20)["candidate"], groups(20, "2")["candidate"]
    assert abs(len(one & other) - 400) < 100
    pseudonyms = {assign(key, "1", 100).key for key in KEYS}  # type: ignore[union-attr]
    assert len(pseudonyms) == len(KEYS)
    assert not pseudonyms & {assign(key, "2", 100).key for key in KEYS}  # type: ignore[union-attr]


def answered(body: Any, status: int = 200) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(0.01, status, {}, content)


OUTPUTS = Outputs(
    "classification",
    ["a"],
    [
        Output("label", "string"),
        Output("score", "float"),
        Output("rank of it", "int", nullable=True),
        Output("parts", "object", items="float"),
        Output("when", "datetime"),
        Output("tags", "list", items="string"),
        Output("any", "list"),
        Output("sure", "bool"),
    ],
)
ROW: dict[str, Any] = {
    "label": "a",
    "score": 1,
    "rank of it": None,
    "parts": {"x": 0.5, "y": None},
    "when": "2026-01-01T00:00:00",
    "tags": ["a"],
    "any": [{"x": []}],
    "sure": True,
}


def test_what_live_would_say_passes_and_more_does_no_harm() -> None:
    contract = Contract(OUTPUTS)
    contract.check(answered({"predictions": [ROW, ROW | {"new": 1}], "more": 1}), 2)


@pytest.mark.parametrize(
    "change",
    [
        {"label": 1},
        {"score": "1"},
        {"score": None},
        {"rank of it": 1.5},
        {"parts": {"x": "1"}},
        {"tags": "a"},
        {"sure": 1},
    ],
)
def test_other_types_do_not_pass(change: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="^shape$"):
        Contract(OUTPUTS).check(answered({"predictions": [ROW | change]}), 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answered({"predictions": [ROW]}), "shape"),  # of two rows
        (answered({"predictions": [{**ROW, "label": "a"}] * 3}), "shape"),
        (answered({"predictions": None}), "shape"),
        (answered([ROW, ROW]), "shape"),
        (answered(b"{"), "not_json"),
        (answered(b'{"predictions": [{"label": "\xff"}]}'), "not_json"),
        (answered(b"[" * 100_000), "shape"),
        (answered({"predictions": [], "deep": 1} | {"x": "y"}, 302), "redirect"),
        (answered({}, 404), "4xx"),
        (answered({}, 503), "5xx"),
        (answered({}, 204), "2xx"),
    ],
)
def test_nothing_else_passes(answer: Answer, reason: str) -> None:
    with pytest.raises(Failed, match=f"^{reason}$"):
        Contract(OUTPUTS).check(answer, 2)
