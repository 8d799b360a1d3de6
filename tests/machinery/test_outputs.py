"""Answers of every form that `predict` may return: the right values, or one line that refuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from service.answers import columns
from service.artifact import Input, Output
from service.engine import Predictor, differing_field
from service.schema import Schema

ROWS = [(0.0,), (1.0,), (2.0,)]
SCHEMA = Schema([Input(name="x", type="float", dtype="float64", nullable=False)], 100)
ISO = "2026-01-31T12:00:00"
NOON = pd.Timestamp(ISO)


def predictor(returned: Any, fields: Sequence[Output] | None = None) -> Predictor:
    """Return the predictor of a model that returns the same, or what it makes of the frame."""
    returns = returned if callable(returned) else lambda _: returned
    return Predictor(lambda _, frame: returns(frame), None, SCHEMA, fields)


def field(kind: Any, nullable: bool = False, items: Any = None) -> Output:
    return Output(name="y", type=kind, nullable=nullable, items=items)


FLOAT, INT, BOOL, STRING = map(field, ("float", "int", "bool", "string"))
FLOATS, STRINGS = (field("list", False, items) for items in ("float", "string"))
SHARES = field("object", False, "float")
COLUMNS: list[tuple[Any, Output, list[Any]]] = [
    (np.array([0.5, 1, 2]), FLOAT, [0.5, 1.0, 2.0]),
    (np.array([0.5, 1, 2], dtype=np.float32), FLOAT, [0.5, 1.0, 2.0]),
    (np.array([0.5, 1, 2], dtype=np.longdouble), FLOAT, [0.5, 1.0, 2.0]),
    (np.array([1, 2, 3], dtype=np.uint8), INT, [1, 2, 3]),
    (np.array([2**64 - 1, 0, 1], dtype=np.uint64), INT, [2**64 - 1, 0, 1]),
    ([1, 0.5, 2], FLOAT, [1.0, 0.5, 2.0]),
    (np.array([1, 0.5, np.int8(2)], dtype=object), FLOAT, [1.0, 0.5, 2.0]),
    (np.array([True, False, True]), BOOL, [True, False, True]),
    (["a", "b", "c"], STRING, ["a", "b", "c"]),
    (np.array(["a", "b", "c"]), STRING, ["a", "b", "c"]),
    ([np.str_("a"), "b", "c"], STRING, ["a", "b", "c"]),
    (pd.Series(["a", "b", "c"]), STRING, ["a", "b", "c"]),
    (pd.Categorical(["a", "b", "c"]), STRING, ["a", "b", "c"]),
    (pd.Index([1, 2, 3]), INT, [1, 2, 3]),
    (pd.Series([1, 2, 3], index=[2, 1, 0]), INT, [3, 2, 1]),
    # Nulls, as each library writes them.
    (np.array([0.5, np.nan, 1]), field("float", True), [0.5, None, 1.0]),
    ([None, 2, 3], field("int", True), [None, 2, 3]),
    (pd.array([1, None, 3], dtype="Int64"), field("int", True), [1, None, 3]),
    (pd.array([True, None, False], dtype="boolean"), field("bool", True), [True, None, False]),
    (pd.Series(["a", None, "c"]), field("string", True), ["a", None, "c"]),
    (["a", np.nan, pd.NA], field("string", True), ["a", None, None]),
    ([None, [1], [2, 3]], field("list", True, "int"), [None, [1], [2, 3]]),
    # Dates.
    (np.array([ISO, ISO, ISO], dtype="datetime64[s]"), field("datetime"), [ISO] * 3),
    (pd.Series([NOON, NOON, pd.NaT]), field("datetime", True), [ISO, ISO, None]),
    (pd.Series([NOON.tz_localize("UTC")] * 3), field("datetime"), [f"{ISO}+00:00"] * 3),
    ([datetime(2026, 1, 31, 12, tzinfo=UTC)] * 3, field("datetime"), [f"{ISO}+00:00"] * 3),
    ([date(2026, 1, 31)] * 3, field("datetime"), ["2026-01-31T00:00:00"] * 3),
    ([np.datetime64(ISO), NOON, None], field("datetime", True), [ISO, ISO, None]),
    # Lists.
    (np.array([[0.5, 1], [2, 3], [4, 5]]), FLOATS, [[0.5, 1], [2, 3], [4, 5]]),
    (np.array([["a", "b"], ["c", "d"], ["e", "f"]]), STRINGS, [["a", "b"], ["c", "d"], ["e", "f"]]),
    ([[1], [0.5, 2], []], FLOATS, [[1.0], [0.5, 2.0], []]),
    ([["a"], ["b"], ["c"]], STRINGS, [["a"], ["b"], ["c"]]),
    ([["a", "b"], [], ("c",)], STRINGS, [["a", "b"], [], ["c"]]),
    ([np.array([1]), np.array([2, 3]), []], field("list", False, "int"), [[1], [2, 3], []]),
    (pd.Series([[True], [False], []]), field("list", False, "bool"), [[True], [False], []]),
    # Objects.
    ([{"a": np.float64(0.5)}, {"b": 1}, {}], SHARES, [{"a": 0.5}, {"b": 1.0}, {}]),
    ([{1: "a"}, {2: "b"}, {}], field("object", False, "string"), [{"1": "a"}, {"2": "b"}, {}]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "settled", "values"), COLUMNS)
def test_values_come_out_as_they_went_in(column: Any, settled: Output, values: list[Any]) -> None:
    taught = predictor({"y": column})
    assert [answer["y"] for answer in taught(ROWS)] == values
    assert taught.fields == [settled]
    served = predictor({"y": column}, [settled])
    answers = [answer["y"] for answer in served(ROWS)]
    assert answers == values
    # Encoded as they are: of plain types, and fractions with their point.
    assert msgspec.json.decode(msgspec.json.encode(answers)) == values
    types = [type(value) for value in answers if not isinstance(value, list | dict | None)]
    assert types == [type(value) for value in values if not isinstance(value, list | dict | None)]


X = np.array([0.0, 1.0, 2.0])
TABLE = pd.DataFrame({"y": X, "z": ["a", "b", "c"]})
ROWS_OF_TABLE = [{"y": 0.0, "z": "a"}, {"y": 1.0, "z": "b"}, {"y": 2.0, "z": "c"}]
FORMS: list[tuple[Any, list[dict[str, Any]]]] = [
    ({"y": X, "z": ["a", "b", "c"]}, ROWS_OF_TABLE),
    (TABLE, ROWS_OF_TABLE),
    (TABLE.iloc[::-1], ROWS_OF_TABLE),
    (pd.DataFrame(np.array([[1.0, 2.0]] * 3)), [{"0": 1.0, "1": 2.0}] * 3),
    (X, [{"prediction": x} for x in X]),
    (list(X), [{"prediction": x} for x in X]),
    (pd.Series(X, name="price"), [{"prediction": x} for x in X]),
    (pd.Series(X[::-1], index=[2, 1, 0]), [{"prediction": x} for x in X]),
    (lambda frame: frame.sort_values("x", ascending=False)["x"], [{"prediction": x} for x in X]),
]


@pytest.mark.parametrize(("returned", "answers"), FORMS)
def test_predict_may_return_columns_in_any_form(returned: Any, answers: list[Any]) -> None:
    assert predictor(returned)(ROWS) == answers


def test_fields_may_come_in_another_order_than_in_training() -> None:
    fields = [Output(name="y", type="float"), Output(name="z", type="string")]
    [answer, *_] = predictor(TABLE[["z", "y"]], fields)(ROWS)
    assert list(answer.items()) == [("y", 0.0), ("z", "a")]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType, which has no names"),
        ("a", "returned str, which has no names"),
        ((X, X), "returned tuple, which has no names"),
        (np.ones((3, 2)), r"returned ndarray of shape \(3, 2\), which has no names"),
        ({}, r"returned the fields \[\]"),
        (pd.DataFrame(np.ones((3, 2)), columns=["y", "y"]), r"fields \['y', 'y'\]"),
        ({"y": X[:2]}, r"shape \(2,\) for 'y', expected \(3,\)"),
        ({"y": [1, 2]}, r"shape \(2,\) for 'y', expected \(3,\)"),
        ({"y": 1.0}, r"shape \(\) for 'y', expected \(3,\)"),
        ({"y": np.ones((3, 1))}, r"take \[:, 0\]"),
        ({"y": np.ones((3, 2, 2))}, r"shape \(3, 2, 2\)"),
        ({"y": pd.Series(X, index=["a", "b", "c"])}, "another index than the frame's"),
        ({"y": pd.Series(X, index=[0, 0, 1])}, "another index than the frame's"),
        (pd.DataFrame({"y": X}, index=[1, 2, 3]), "another index than the frame's"),
        ({"y": np.array([0.5, np.inf, 1])}, "NaN or infinity for 'y'"),
        ({"y": [[0.5], [np.inf], []]}, "NaN or infinity for 'y'"),
        ({"y": [[0.5], [np.nan], []]}, "null within 'y'"),
        ({"y": [None] * 3}, "nothing, or null, in every row for 'y'"),
        ({"y": [[], [], []]}, "nothing, or null, in every row for what is in 'y'"),
        ({"y": [1, "a", 2]}, "int and string for 'y'"),
        ({"y": [1, True, 2]}, "bool and int for 'y'"),
        ({"y": [[1], 2, 3]}, "int and list for 'y'"),
        ({"y": [["a"], [1], []]}, "int and string for what is in 'y'"),
        ({"y": [{1, 2}] * 3}, "returned set for 'y': use numbers"),
        ({"y": [2**64] * 3}, "returned int for 'y': use numbers"),
        ({"y": X.astype("complex")}, "returned complex128 for 'y'"),
        ({"y": np.array(["a", "b", "c"], dtype="S")}, r"returned \|S1 for 'y'"),
        ({"y": pd.Series([NOON] * 3) - NOON}, "returned timedelta64.* for 'y'"),
        ({"y": [[[1]], [], []]}, "returned list for 'y'"),
        ({"y": [{"a": [1]}] * 3}, "returned list for 'y'"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused_in_one_line(returned: Any, message: str) -> None:
    with pytest.raises((TypeError, RuntimeError), match=message) as error:
        predictor(returned)(ROWS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settled", "column", "message"),
    [
        (FLOAT, np.array([0.5, np.nan, 1]), "NaN or infinity for 'y'"),
        (FLOAT, [0.5, None, 1], "NaN or infinity for 'y'"),
        (field("float", True), np.array([np.inf, np.nan, 1]), "NaN or infinity for 'y'"),
        (STRING, ["a", None, "c"], "null for 'y', at training time never"),
        (INT, X, "float for 'y', at training time int"),
        (STRING, [1, 2, 3], "int for 'y', at training time string"),
        (FLOAT, ["a", "b", "c"], "string for 'y', at training time float"),
        (BOOL, [1, 0, 1], "int for 'y', at training time bool"),
        (field("list", False, "float"), X, "float for 'y', at training time list"),
        (field("list", False, "string"), [[1], [], []], "int for 'y', at training time string"),
        (field("object", False, "float"), X, "float for 'y', at training time object"),
        (field("object", False, "float"), [{"a": "b"}] * 3, "string for 'y', at training time fl"),
    ],
)
def test_what_training_had_nothing_like_is_refused(
    settled: Output, column: Any, message: str
) -> None:
    with pytest.raises((TypeError, RuntimeError), match=message):
        predictor({"y": column}, [settled])(ROWS)


def test_other_fields_than_in_training_are_refused() -> None:
    with pytest.raises(TypeError, match=r"fields \['z'\], at training time \['y'\]"):
        predictor({"z": X}, [FLOAT])(ROWS)
    taught = predictor(lambda frame: {"y": X} if len(frame) == 3 else {"z": [1]})
    taught(ROWS)
    with pytest.raises(TypeError, match=r"fields \['z'\], at training time \['y'\]"):
        taught(ROWS[:1])


def test_a_type_that_depends_on_the_rows_is_settled_by_all_calls_of_training() -> None:
    def returned(frame: pd.DataFrame) -> Any:
        numbers: list[Any] = [1 if x < 1 else x / 2 for x in frame["x"]]
        lists: list[Any] = [[] if x < 1 else [int(x)] for x in frame["x"]]
        return {
            "number": numbers,
            "list": lists,
            "null": [None if x < 1 else "a" for x in frame["x"]],
        }

    taught = predictor(returned)
    assert taught(ROWS[1:])[0] == {"number": 0.5, "list": [1], "null": "a"}
    assert not taught.fields[2].nullable
    taught(ROWS[:1])
    expected = [
        Output(name="number", type="float"),
        Output(name="list", type="list", items="int"),
        Output(name="null", type="string", nullable=True),
    ]
    assert taught.fields == expected
    alone = predictor(returned, expected)(ROWS[:1])
    assert alone == [{"number": 1.0, "list": [], "null": None}]
    assert type(alone[0]["number"]) is float


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ({"a": 1.0, "b": "x"}, {"a": 1 + 1e-9, "b": "x"}, None),
        ({"a": 1.0, "b": "x"}, {"a": 1.1, "b": "x"}, "a"),
        ({"a": 1.0, "b": "x"}, {"a": 1.0, "b": "y"}, "b"),
        ({"a": 1.0}, {"a": 1.0, "b": 1}, "b"),
        ({"a": 1.0}, {"a": None}, "a"),
        ({"a": None}, {"a": None}, None),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2 + 1e-9]}, None),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.1]}, "a"),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, "a"),
        ({"a": {"x": 0.5}}, {"a": {"x": 0.5 + 1e-9}}, None),
        ({"a": {"x": 0.5}}, {"a": {"y": 0.5}}, "a"),
        ({"a": ["x"]}, {"a": "x"}, "a"),
        ({"": 1}, {"": 2}, ""),
    ],
)
def test_answers_agree_within_the_tolerance_however_deep(one: Any, other: Any, name: Any) -> None:
    assert differing_field(one, other) == differing_field(other, one) == name


def test_columns_that_are_arrays_already_are_not_touched() -> None:
    assert columns({"y": X}, 3)["y"] is X
