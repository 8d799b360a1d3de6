from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from random import Random
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toy
from service.artifact import Input
from service.engine import Engine
from service.errors import Detail, RequestError
from service.ordered import Order
from service.schema import Schema

GOOD = {"age": 40, "monthly income": 2500.5, "plan": "pro", "member": True, "region": "north"}
INPUTS = [
    Input(name="age", type="int", dtype="int64", nullable=False),
    Input(name="monthly income", type="float", dtype="float64", nullable=True),
    Input(name="plan", type="string", dtype="object", nullable=True),
    Input(name="member", type="bool", dtype="bool", nullable=False),
    Input(
        name="region",
        type="string",
        dtype="category",
        nullable=False,
        categories=["north", "south"],
    ),
]
SCHEMA = Schema(INPUTS, max_instances=3)


def instances(*items: Any) -> bytes:
    return json.dumps({"instances": items}).encode()


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "in order"])
def any_order(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small bodies are decoded as they are, then as large ones, whose fields are put in order."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(Order, "matters", lambda order, body: body.count(b'"') > 2)
        yield


def with_(**changes: Any) -> dict[str, Any]:
    return GOOD | changes


@pytest.mark.usefixtures("any_order")
@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b"", "", "truncated"),
        (b"nonsense", "", "malformed"),
        (b"[]", "", 'expected {"instances": [...]}, got an array'),
        (b"{}", "instances", "missing"),
        (b'{"instances": null}', "instances", "expected an array, got null"),
        (b'{"instances": []}', "instances", "expected at least one instance"),
        (json.dumps(GOOD).encode(), "instances", 'missing: send {"instances": [...]}'),
        (b'{"foo": 1}', "instances", "missing"),
        (b'{"foo": ' + b"[" * 100_000, "foo", "unknown field"),
        (instances(GOOD)[:-1] + b', "foo": 1}', "foo", "unknown field"),
        (b'{"rows": [], "instances": []}', "rows", "unknown field"),
        (instances(3), "instances[0]", "expected an object or an array, got a whole number"),
        (instances(GOOD, with_(age="40")), "instances[1].age", "expected a whole number, got a s"),
        (instances(with_(age=40.5)), "instances[0].age", "expected a whole number, got 40.5"),
        (instances(with_(age=True)), "instances[0].age", "expected a whole number, got true or"),
        (instances(with_(age=None)), "instances[0].age", "expected a whole number, got null"),
        (instances(with_(age=2**63)), "instances[0].age", "9223372036854775807"),
        (instances([1e300, 2, "p", True, "n"]), "instances[0].age", "a whole number, got 1e+300"),
        (instances(with_(member=1)), "instances[0].member", "expected true or false, got a whole"),
        (instances(with_(plan=["pro"])), "instances[0].plan", "expected a string or null, got an"),
        (instances(with_(colour="red")), "instances[0].colour", "unknown field"),
        (instances({"age": 4}), "instances[0].member", "missing"),
        (instances([1, 2.0, "pro", True]), "instances[0]", "expected 5 values"),
        (instances([1, 2.0, "pro", True, "n", 6]), "instances[0]", "expected 5 values"),
        (instances([1, "2", "pro", True, "n"]), "instances[0][1]", "expected a number or null"),
        (
            instances(with_(**{"monthly income": float("nan")})),
            "instances[0].monthly income",
            "NaN",
        ),
        (instances([1, float("-inf"), "p", True, "n"]), "instances[0][1]", "-Infinity is not a"),
        (b'{"instances": [[1, 1e999, "p", true, "n"]]}', "instances[0][1]", "out of range"),
        (b'{"instances": [[1, 2, "\xff", true, "n"]]}', "instances[0][2]", "not UTF-8 (byte 23)"),
        (b'{"instances": [[1, 2, "p", true, "\xed\xa0\x80"]]}', "instances[0][4]", "not UTF-8"),
        (b'{"instances": [{"\xff": 1}]}', "", "not UTF-8 (byte 17)"),
        (b'{"instances": [[1, 2, "\\ud800", true, "n"]]}', "instances[0][2]", "half a surrogate"),
        (b'{"instances": [[1, 2, "\\"\\\\\\udc00"]]}', "instances[0][2]", "pair is no character"),
        (b'{"instances": [[1, 2, "\\ud800\\u0041"]]}', "instances[0][2]", "(byte 35)"),
        (b'{"instances": [{"\\ud800": 1}]}', "", "half a surrogate pair"),
        (b'{"instances": [[1, nope, 2]]}', "instances[0][1]", "malformed"),
        (b'{"instances": [{"age": 01}]}', "instances[0].age", "malformed JSON: invalid number"),
        (b'{"instances": [{"age": 1 "plan"', "", "malformed"),
        (b'{"instances": -Infinity}', "instances", "-Infinity is not a JSON number"),
        (b'{"instances": [[1, 2.0, "p", true, "n"], NaN]}', "instances[1]", "NaN is not a JSON"),
        (b'{"parameters": NaN, "instances": [[NaN]]}', "parameters", "NaN is not a JSON number"),
        (b"NaN", "", "NaN is not a JSON number"),
        (instances(list(GOOD.values())) + b"x", "", "trailing"),
        (instances(list(GOOD.values())) * 2, "", "trailing"),
        (b'{"parameters":' * 50_000, "parameters.parameters", "unknown field"),
        (b'{"instances":' + b"[" * 100_000, "instances[0][0]", "expected a whole number, got an a"),
        (instances(GOOD).replace(b'"age"', b'"age": 1, "age"'), "instances[0].age", "duplicate"),
        (instances(GOOD).replace(b'"age"', b'"age": 1, "\\u0061ge"'), "instances[0].age", "dupl"),
        (
            instances(GOOD).replace(b'"plan"', b'"plan": "\\"", "plan"'),
            "instances[0].plan",
            "duplicate",
        ),
        (
            b'{"instances": [[1, 2, "", true, ""]], ' + instances(GOOD)[1:],
            "instances",
            "duplicate key",
        ),
        (instances(GOOD)[:-1] + b', "parameters": {"k": 1}}', "parameters.k", "unknown field"),
        (instances(GOOD)[:-1] + b', "parameters": []}', "parameters", "expected an object or null"),
    ],
)
def test_a_wrong_body_is_a_400_that_names_the_place(body: bytes, path: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        SCHEMA.decode(body)
    error = caught.value
    assert error.status == 400
    assert [detail.path for detail in error.details] == ([path] if path else [])
    assert message in (error.details[0].message if path else error.message)
    assert "\n" not in error.message and len(error.message) < 400


def test_too_many_instances_are_a_413() -> None:
    with pytest.raises(RequestError, match="at most 3 instances in one request") as caught:
        SCHEMA.decode(instances(GOOD, GOOD, GOOD, GOOD))
    assert caught.value.status == 413


def test_a_long_unknown_field_is_cut_in_the_error() -> None:
    with pytest.raises(RequestError) as caught:
        SCHEMA.decode(instances(with_(**{"x" * 100_000: 1})))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("extra", [b"", b', "parameters": {}', b', "parameters": null'])
def test_objects_and_arrays_give_the_same_rows(extra: bytes) -> None:
    body = instances(GOOD, list(GOOD.values()))[:-1] + extra + b"}"
    assert SCHEMA.decode(body) == [tuple(GOOD.values())] * 2


def test_a_whole_number_may_come_with_a_point() -> None:
    (row,) = SCHEMA.decode(instances(with_(age=40.0)))
    assert row[0] == 40 and type(row[0]) is int


def test_nullable_fields_may_be_null_or_absent() -> None:
    nulls = with_(**{"monthly income": None, "plan": None})
    absent = {key: GOOD[key] for key in ("age", "member", "region")}
    assert SCHEMA.decode(instances(nulls, absent)) == [(40, None, None, True, "north")] * 2


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | text,
    st.booleans(),
    text,
)


@pytest.mark.usefixtures("any_order")
@given(st.lists(rows, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_every_valid_row_comes_out_as_it_went_in(
    given_rows: list[Any], as_objects: bool, ascii: bool
) -> None:
    items = [dict(zip(GOOD, row, strict=True)) for row in given_rows] if as_objects else given_rows
    body = json.dumps({"instances": items}, ensure_ascii=ascii).encode()
    assert SCHEMA.decode(body) == given_rows


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["instances", *GOOD]) | text, inner, max_size=5)
    ),
    max_leaves=20,
)


@given(anything.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_no_body_is_worse_than_a_400(body: bytes) -> None:
    try:
        SCHEMA.decode(body)
    except RequestError as error:
        assert error.status in (400, 413)


class Flaw(str):
    """What json reads and the service does not."""


def paths(value: Any, path: str = "") -> Iterator[tuple[str, Flaw]]:
    if isinstance(value, Flaw):
        yield path, value
    pairs = value.items() if isinstance(value, dict) else ()
    for key, item in pairs:
        yield from paths(item, f"{path}.{key}".removeprefix("."))
    for i, item in enumerate(value if isinstance(value, list) else ()):
        yield from paths(item, f"{path}[{i}]")


def oracle(body: bytes) -> list[tuple[str, str]]:
    """Return all places and flaws, as Python's own lenient reader sees them."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            found[key] = Flaw("duplicate key") if key in found else value
        return found

    def constant(name: str) -> Flaw:
        return Flaw(f"{name} is not a JSON number")

    return list(paths(json.loads(body, object_pairs_hook=unique, parse_constant=constant)))


class Pairs(list[tuple[str, Any]]):
    """A JSON object, whose keys may come twice."""


def written(value: Any, random: Random) -> str:
    """Return a value as JSON, with blanks and escapes as they fall."""

    def blank() -> str:
        return random.choice(["", "", " ", "\n\t"])

    def string(value: str) -> str:
        made = json.dumps(value, ensure_ascii=random.random() < 0.5)
        if value.isalnum() and value.isascii() and random.random() < 0.1:
            made = "".join(f"\\u{ord(letter):04x}" for letter in value).join('""')
        return made

    if isinstance(value, Pairs):
        pairs = (f"{string(key)}{blank()}:{written(item, random)}" for key, item in value)
        made = "{" + f"{blank()},".join(pairs) + "}"
    elif isinstance(value, list):
        made = "[" + f"{blank()},".join(written(item, random) for item in value) + "]"
    else:
        made = string(value) if isinstance(value, str) else json.dumps(value)
    return blank() + made + blank()


@pytest.mark.usefixtures("any_order")
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_one_flaw_in_a_right_body_is_found_where_it_is(data: st.DataObject) -> None:
    made: list[Any] = []
    for row in data.draw(st.lists(rows, min_size=1, max_size=3)):
        pairs = list(zip(GOOD, row, strict=True))
        as_object = Pairs(data.draw(st.permutations(pairs)))
        made.append(as_object if data.draw(st.booleans()) else list(row))
    whole = Pairs(
        [("instances", made), ("parameters", data.draw(st.sampled_from([None, Pairs()])))]
    )
    whole = Pairs(data.draw(st.permutations(whole)))
    place: Any = data.draw(st.sampled_from([whole, made, *made]))
    where = data.draw(st.integers(0, len(place) - 1))
    if isinstance(place, Pairs) and data.draw(st.booleans()):
        place.insert(data.draw(st.integers(0, len(place))), place[where])
    else:
        number = float(data.draw(st.sampled_from(["nan", "inf", "-inf"])))
        place[where] = (place[where][0], number) if isinstance(place, Pairs) else number
    body = written(whole, Random(data.draw(st.integers()))).encode()
    [(path, message)] = oracle(body)
    with pytest.raises(RequestError) as caught:
        Schema(INPUTS, max_instances=10).decode(body)
    [found] = caught.value.details
    assert found == Detail(path, found.message)
    assert re.fullmatch(rf"{message}( \(byte \d+\))?", found.message)


@pytest.mark.usefixtures("any_order")
@given(text, st.sampled_from(["\\ud800", "\\udfff", "\\ud834\\u0041", "\\ud800\\ud800"]), text)
def test_half_a_surrogate_pair_is_found_where_it_is(before: str, half: str, after: str) -> None:
    string = (json.dumps(before)[:-1] + half + " " + json.dumps(after)[1:]).encode()
    for row, path in (
        (b'[1, 2.0, %b, true, "n"]', "instances[1][2]"),
        (b'{"age": 1, "plan": %b}', "instances[1].plan"),
        (b'{"age": 1, %b: 2}', ""),
    ):
        with pytest.raises(RequestError, match="half a surrogate pair is no character") as caught:
            SCHEMA.decode(instances(GOOD)[:-2] + b", " + row % string + b"]}")
        assert [detail.path for detail in caught.value.details] == ([path] if path else [])


@pytest.mark.usefixtures("any_order")
@given(st.lists(text, max_size=4))
def test_quotes_and_brackets_in_strings_are_neither_keys_nor_instances(strings: list[str]) -> None:
    items = [with_(plan=json.dumps(string) + "[{" * 9 + '\\"') for string in strings[:2]] + [GOOD]
    assert [row[2] for row in SCHEMA.decode(instances(*items))] == [item["plan"] for item in items]


ALL_NULLABLE = Schema(
    [Input(name=f"x{i}", type="float", dtype="float64", nullable=True) for i in range(2000)], 50
)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"instances":[' + b"{}," * 100_000 + b"{}]}", 413),
        (b'{"instances":[' + b"{}," * 100_000 + b"0]}", 413),
        (b'{"instances":[' + b"{}," * 100_000 + b'{}],"instances":[{}]}', 413),
        (b'{"instances":[{"x":"' + b"{}," * 100_000 + b'"}]}', 400),
        (b'{"instances":[{}]}' + b"[]" * 100_000, 400),
        (b'{"instances":[' + b"[" * 100_000, 400),
        (b'{"instances":[' + b"{}," * 49 + b"{}]}", 200),
    ],
    ids=lambda value: repr(value)[-24:],
)
def test_instances_are_counted_before_they_take_memory(body: bytes, status: int) -> None:
    tracemalloc.start()
    try:
        assert len(ALL_NULLABLE.decode(body)) == 50 and status == 200
    except RequestError as error:
        assert error.status == status
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20, "without the count it is gigabytes"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 199), st.integers(1, 5))
def test_the_model_gets_the_frame_it_was_trained_on(engine: Engine, start: int, size: int) -> None:
    frame = toy.load_data()[0].iloc[start : start + size].reset_index(drop=True)
    body = frame.to_json(orient="records", double_precision=15)
    rebuilt = engine.schema.frame(engine.schema.decode(b'{"instances": %b}' % body.encode()))
    pd.testing.assert_frame_equal(rebuilt, frame, rtol=1e-12)


def test_a_small_float_column_takes_no_number_that_it_cannot_hold() -> None:
    schema = Schema([Input(name="x", type="float", dtype="float32", nullable=False)], 10)
    with pytest.raises(RequestError, match="instances"):
        schema.decode(b'{"instances": [[1e39]]}')
    assert schema.frame(schema.decode(b'{"instances": [[1.5]]}'))["x"].dtype == "float32"


NONSENSE = [
    b" ",
    b"{",
    b"null",
    b"1",
    b'"text"',
    b"\xff\xfe{}",
    b'{"instances": [{"a": "\xff"}]}',
    b'{"instances": [{"\xed\xa0\x80": 1}]}',
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"instances": {}}',
    b'{"instances": [null]}',
    b'{"instances": [{}], "instances": [{}]}',
    b'{"instances": "\\ud800"}',
    instances(with_(**{"monthly income": 1.5})).replace(b"1.5", b"1" + b"0" * 400),
    instances(with_(**{"monthly income": 1.5})).replace(b"1.5", b"-1e999"),
    *(instances(GOOD) + garbage for garbage in (b"{}", b"\0", b"]", b",")),
]


@pytest.mark.parametrize("body", NONSENSE, ids=lambda body: repr(body[:40])[2:-1])
def test_nonsense_is_a_400(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        SCHEMA.decode(body)
    assert caught.value.status == 400
