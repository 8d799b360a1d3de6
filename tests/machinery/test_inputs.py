"""A model is fitted to the frame that serving would build, whatever the columns are made of."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import runs
from dateutil.tz import gettz, tzlocal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from sklearn.dummy import DummyClassifier

import toy
from service.artifact import Input, public, read_manifest
from service.engine import Engine
from service.errors import RequestError
from service.openapi import openapi
from service.schema import Schema
from service.settings import Settings
from training.errors import TrainingError
from training.inputs import describe, histogram, plain_rows, served

PYARROW = find_spec("pyarrow") is not None
SIZES = ["low", "middle", "high"]  # neither their alphabetical order nor its reverse


class Kind(NamedTuple):
    """A kind of column: `dtype` in load_data's frame, and what the model gets, with gaps if any."""

    values: st.SearchStrategy[Any]
    type: str
    dtype: Any
    served: str
    served_gaps: str | None = None


def whole(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else bits_of(bits)


def bits_of(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1) | st.integers(2**bits - 3, 2**bits - 1)


def number(width: Any = 64) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sizes = st.sampled_from(SIZES)
flags = st.booleans()
naive = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))
in_ns = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))
aware = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.just(UTC))
BERLIN = "datetime64[us, Europe/Berlin]"

KINDS = {
    "float64": Kind(number(), "float", "float64", "float64", "float64"),
    "float32": Kind(number(32), "float", "float32", "float32", "float32"),
    "float16": Kind(number(16), "float", "float16", "float16", "float16"),
    "big endian": Kind(number(), "float", ">f8", "float64", "float64"),
    "longdouble": Kind(number(), "float", "longdouble", "float64", "float64"),
    "int64": Kind(whole(64), "int", "int64", "int64"),
    "int8": Kind(whole(8), "int", "int8", "int8"),
    "uint16": Kind(whole(16, signed=False), "int", "uint16", "uint16"),
    "uint64": Kind(whole(64, signed=False), "int", "uint64", "uint64"),
    "bool": Kind(flags, "bool", "bool", "bool"),
    "Int64": Kind(whole(64), "int", "Int64", "Int64", "Int64"),
    "UInt64": Kind(whole(64, signed=False), "int", "UInt64", "UInt64", "UInt64"),
    "Float32": Kind(number(32), "float", "Float32", "Float32", "Float32"),
    "Float64": Kind(number(), "float", "Float64", "Float64", "Float64"),
    "boolean": Kind(flags, "bool", "boolean", "boolean", "boolean"),
    "str": Kind(text, "string", "str", "str", "str"),
    "string": Kind(text, "string", "string", "string", "string"),
    "object of strings": Kind(text, "string", object, "object", "object"),
    "object of booleans": Kind(flags, "bool", object, "object", "object"),
    "category": Kind(sizes, "string", pd.CategoricalDtype(SIZES), "category", "category"),
    "ordered": Kind(sizes, "string", pd.CategoricalDtype(SIZES, True), "category", "category"),
    "naive": Kind(naive, "datetime", "datetime64[us]", "datetime64[us]", "datetime64[us]"),
    "seconds": Kind(
        naive.map(lambda d: d.replace(microsecond=0)),
        "datetime",
        "datetime64[s]",
        "datetime64[us]",
        "datetime64[us]",
    ),
    "nanoseconds": Kind(in_ns, "datetime", "datetime64[ns]", "datetime64[us]", "datetime64[us]"),
    "UTC": Kind(aware, "datetime", "datetime64[us, UTC]", "datetime64[us, UTC]"),
    "Berlin": Kind(aware, "datetime", BERLIN, BERLIN, BERLIN),
    "sparse": Kind(number(), "float", "Sparse[float64]", "float64", "float64"),
    "sparse counts": Kind(whole(64), "int", "Sparse[int64]", "int64"),
}
if PYARROW:
    KINDS |= {
        "arrow int64": Kind(whole(64), "int", "int64[pyarrow]", "int64", "Int64"),
        "arrow uint8": Kind(bits_of(8), "int", "uint8[pyarrow]", "uint8", "UInt8"),
        "arrow double": Kind(number(), "float", "double[pyarrow]", "float64", "float64"),
        "arrow float": Kind(number(32), "float", "float[pyarrow]", "float32", "float32"),
        "arrow bool": Kind(flags, "bool", "bool[pyarrow]", "bool", "boolean"),
        "arrow string": Kind(text, "string", "large_string[pyarrow]", "str", "str"),
        "arrow time": Kind(in_ns, "datetime", "timestamp[ns][pyarrow]", *["datetime64[us]"] * 2),
        "arrow UTC": Kind(
            aware, "datetime", "timestamp[us, tz=UTC][pyarrow]", *["datetime64[us, UTC]"] * 2
        ),
    }


@st.composite
def column(draw: st.DrawFn, name: str, rows: int) -> list[Any]:
    """Draw a column's values as a request has them: None for a gap, but not for all."""
    kind = KINDS[name]
    values = st.none() | kind.values if kind.served_gaps else kind.values
    return draw(
        st.lists(values, min_size=rows, max_size=rows).filter(
            lambda drawn: any(value is not None for value in drawn)
        )
    )


def frame_of(values: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Series(values[n], dtype=KINDS[n].dtype) for n in values})


def as_request(values: dict[str, list[Any]]) -> bytes:
    """Return the rows as a client would write them, who knows nothing of pandas."""
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return json.dumps({"instances": rows}, default=datetime.isoformat).encode()


@given(st.data(), st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=8, unique=True))
@settings(max_examples=100, deadline=None)
def test_the_frame_of_fit_is_that_of_serving(data: st.DataObject, names: list[str]) -> None:
    rows = data.draw(st.integers(1, 5))
    values = {name: data.draw(column(name, rows)) for name in names}
    frame = frame_of(values)
    inputs = describe(frame)
    schema = Schema(inputs, max_instances=rows)

    fitted = served(inputs, frame)
    asked = schema.frame(schema.decode(as_request(values)))

    pd.testing.assert_frame_equal(fitted, asked, check_exact=True)
    assert plain_rows(inputs, fitted) == list(zip(*values.values(), strict=True))
    assert describe(fitted) == inputs
    for item in inputs:
        kind, gaps = KINDS[item.name], None in values[item.name]
        assert (item.type, item.nullable) == (kind.type, gaps)
        assert str(fitted[item.name].dtype) == (kind.served_gaps if gaps else kind.served)


def test_fit_evaluation_golden_rows_and_serving_all_get_that_frame(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = 64
    frame = pd.DataFrame(
        {
            0: pd.Series(["pro", None, "basic", np.nan] * 16, dtype=object),
            "size": pd.Categorical(["low", None] * 32, categories=SIZES, ordered=True),
            "at": pd.date_range("2026", periods=rows, unit="ns", tz="Europe/Berlin"),
            "visits": pd.Series([1, None] * 32, dtype="Int64"),
            "sparse": pd.arrays.SparseArray([0.0, 1.5] * 32, fill_value=0.0),
            "note": MESSAGES[:rows],
        }
    )
    got: list[pd.DataFrame] = []
    plain_fit = DummyClassifier.fit

    def fit(self: Any, frame: Any, *rest: Any, **named: Any) -> Any:
        got.append(frame)
        return plain_fit(self, frame, *rest, **named)

    def predict(model: Any, frame: pd.DataFrame) -> Any:
        got.append(frame)
        return {"label": model.predict(frame)}

    monkeypatch.setattr(runs, "user", toy)
    monkeypatch.setattr(DummyClassifier, "fit", fit)
    monkeypatch.setattr(toy, "load_data", lambda: (frame, pd.Series(["a", "a", "b", "a"] * 16)))
    monkeypatch.setattr(toy, "build", DummyClassifier)
    monkeypatch.setattr(toy, "predict", predict)
    monkeypatch.setattr(toy, "GATES", [])
    runs.train(tmp_path)
    trained = len(got)
    engine = Engine(Settings(artifact_dir=tmp_path), predict)
    engine.start()
    engine.batcher.close()

    assert 2 < trained < len(got)
    assert got[0].columns.tolist() == ["0", "size", "at", "visits", "sparse", "note"]
    assert got[0]["size"].dtype == pd.CategoricalDtype(SIZES, ordered=True)
    for other in got[1:]:
        assert other.dtypes.to_dict() == got[0].dtypes.to_dict()
    assert not any(value is None for each in got for value in each["0"])


@pytest.mark.parametrize("ordered", [True, False])
def test_categories_keep_their_order(ordered: bool) -> None:
    column = pd.Categorical(["high", "low", None], categories=SIZES, ordered=ordered)
    frame = pd.DataFrame({"size": column})
    inputs = describe(frame)
    dtype = served(inputs, frame)["size"].dtype
    assert isinstance(dtype, pd.CategoricalDtype)
    assert (list(dtype.categories), dtype.ordered) == (SIZES, ordered)


def test_every_gap_in_an_object_column_reaches_fit_as_it_reaches_predict() -> None:
    frame = pd.DataFrame({"plan": pd.Series(["pro", None, np.nan, pd.NA], dtype=object)})
    fitted = served(describe(frame), frame)["plan"]
    assert fitted.dtype == object
    assert [value is np.nan for value in fitted] == [False, True, True, True]


def test_a_category_that_training_did_not_see_is_missing() -> None:
    frame = pd.DataFrame({"size": pd.Categorical(["low"], categories=SIZES)})
    schema = Schema(describe(frame), max_instances=2)
    asked = schema.frame(schema.decode(b'{"instances": [["huge"], ["high"]]}'))
    assert asked["size"].isna().tolist() == [True, False]


def test_columns_named_by_numbers_are_named_by_strings_in_fit_too() -> None:
    frame = pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=[0, 1, 2026])
    inputs = describe(frame)
    assert [item.name for item in inputs] == ["0", "1", "2026"]
    assert served(inputs, frame).columns.tolist() == ["0", "1", "2026"]


@pytest.mark.parametrize(
    ("values", "write"),
    [
        ([1, None], "frame['x'].astype(\"Int64\")"),
        ([Decimal("1.5"), None], "frame['x'].astype(\"float64\")"),
        ([date(2026, 1, 1)], "pd.to_datetime(frame['x'])"),
        ([datetime(2026, 1, 1), None], "pd.to_datetime(frame['x'])"),
        ([time(12, 30)], "frame['x'].astype(\"str\")"),
        ([1, "x"], "frame['x'].astype(\"str\")"),
        ([b"x"], "frame['x'].str.decode(\"utf-8\")"),
        ([[1.0, 2.0], [3.0, 4.0]], "pd.DataFrame(frame['x'].tolist())"),
        (pd.Categorical([1, 2]), "frame['x'].cat.rename_categories(str)"),
        (pd.period_range("2026", periods=2), "frame['x'].dt.to_timestamp()"),
        (pd.to_timedelta([1, 2]), "frame['x'].dt.total_seconds()"),
        (pd.interval_range(0, 2), "frame['x'].astype(\"str\")"),
        (["\ud800"], "frame['x'].str.encode("),
    ],
)
def test_what_no_request_can_carry_is_refused_with_what_to_write(values: Any, write: str) -> None:
    plain = isinstance(values, list)
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object) if plain else values})
    with pytest.raises(TrainingError, match=r"^[^\n]*column 'x'[^\n]*write [^\n]*$") as refused:
        describe(frame)
    line = str(refused.value)
    assert write in line
    if ".str.encode(" not in write:  # what it says to write works
        scope: dict[str, Any] = {"frame": frame, "pd": pd}
        written = line.split(": write ")[1]
        if written.startswith("frame.join"):
            written = "frame = " + written.replace("frame.join", "frame.drop(columns='x').join")
        exec(written, scope)
        inputs = describe(scope["frame"])
        served(inputs, scope["frame"])


@pytest.mark.parametrize("name", [None, ("a", "b"), True, "", float("nan")])
def test_columns_without_a_name_are_refused(name: Any) -> None:
    frame = pd.DataFrame({"x": [1.0]})
    frame.columns = pd.Index([name], tupleize_cols=False)
    with pytest.raises(TrainingError, match="is no name of a column"):
        describe(frame)


def test_dates_that_no_request_can_carry_are_refused() -> None:
    far = pd.Series(np.array(["12026-01-01"], dtype="datetime64[s]"))
    with pytest.raises(TrainingError, match="outside of the years 1 to 9999"):
        describe(pd.DataFrame({"x": far}))


@pytest.mark.parametrize("zone", [tzlocal(), gettz("Europe/Berlin")])
def test_time_zones_without_a_name_are_refused(zone: Any) -> None:
    frame = pd.DataFrame({"x": pd.to_datetime(["2026-01-01"]).tz_localize(zone)})
    with pytest.raises(TrainingError, match=r"frame\['x'\].dt.tz_convert\(\"UTC\"\)"):
        describe(frame)


# --- dates in requests


def dates(zone: str | None) -> Schema:
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-01-01", "NaT"]).tz_localize(zone)})
    return Schema(describe(frame), max_instances=9)


def ask(schema: Schema, *values: Any) -> Any:
    return schema.frame(schema.decode(json.dumps({"instances": [[v] for v in values]}).encode()))


def test_dates_without_a_time_zone_come_as_iso_strings() -> None:
    at = ask(dates(None), "2026-07-01T12:30:00", "2026-07-01T12:30:00.25", None)["at"]
    assert at.dtype == "datetime64[us]"
    assert at.tolist()[:2] == [
        pd.Timestamp("2026-07-01 12:30"),
        pd.Timestamp("2026-07-01 12:30:00.25"),
    ]
    assert at.isna().tolist() == [False, False, True]


def test_dates_with_a_time_zone_are_told_in_that_of_training() -> None:
    at = ask(dates("Europe/Berlin"), "2026-07-01T12:00:00Z", "2026-01-01T12:00:00+05:00")["at"]
    assert at.dtype == "datetime64[us, Europe/Berlin]"
    assert at.dt.hour.tolist() == [14, 8]


@pytest.mark.parametrize(
    ("zone", "value", "message"),
    [
        (None, "2026-07-01T12:00:00Z", "expected a date and time with no timezone component"),
        ("UTC", "2026-07-01T12:00:00", "expected a date and time with a timezone component"),
        (None, "yesterday", "expected a date and time, such as 2026-01-31T12:00:00"),
        (None, "2026-07-01", "expected a date and time, such as 2026-01-31T12:00:00"),
        (None, 5, "expected a date and time or null, got a whole number"),
    ],
)
def test_what_is_no_such_date_is_a_400(zone: str | None, value: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(dates(zone), value)
    assert (caught.value.status, caught.value.details[0].path) == (400, "instances[0][0]")
    assert caught.value.details[0].message == message


def test_a_date_beyond_the_calendar_is_the_clients_fault() -> None:
    with pytest.raises(ValueError, match="at: outside of the years 1 to 9999"):
        ask(dates("Europe/Berlin"), "9999-12-31T23:59:59Z")


def test_a_duplicate_key_beside_a_date_is_found() -> None:
    with pytest.raises(RequestError, match="duplicate key"):
        dates(None).decode(b'{"instances": [{"at": "2026-07-01T12:00:00", "at": null}]}')


# --- large whole numbers


@pytest.mark.parametrize("dtype", ["uint64", "UInt64"])
def test_whole_numbers_above_2_to_the_63(dtype: str) -> None:
    largest = 2**64 - 1
    schema = Schema(describe(pd.DataFrame({"x": pd.Series([0, largest], dtype=dtype)})), 9)
    assert ask(schema, largest)["x"].tolist() == [largest]
    for value, message in (
        (largest + 1, "expected a whole number <= 18446744073709551615"),
        (10**400, "expected a whole number <= 18446744073709551615"),
        (2.0**64, "expected a whole number, got 1.8446744073709552e+19"),
        (-1, "expected a whole number >= 0"),
    ):
        with pytest.raises(RequestError) as caught:
            ask(schema, value)
        assert caught.value.details[0].message == message


# --- what is public


MESSAGES = [f"Dear Sir, I live at {n} Elm Street and want my money back." for n in range(300)]


@pytest.mark.parametrize(
    ("values", "public"),
    [
        (["basic", "plus", "pro"] * 100, True),
        ([f"region {n % 100}" for n in range(300)], True),
        ([f"region {n % 101}" for n in range(300)], False),
        (MESSAGES, False),
        (["short", MESSAGES[0] + " " * 60] * 150, False),
        ([f"person{n}@example.com" for n in range(40)], False),  # few, but each its own
        (["a", "b", "c"], True),
    ],
)
@pytest.mark.parametrize("dtype", [object, "str", "category"])
def test_free_text_is_private(values: list[str], public: bool, dtype: Any) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    (item,) = inputs = describe(frame)
    assert item.public is public
    listed = public or dtype == "category"  # which serving needs
    assert item.categories == (sorted(set(values)) if listed else None)
    assert served(inputs, frame)["x"].tolist() == values


def test_no_page_shows_a_value_of_free_text(trained: Path) -> None:
    frame = pd.DataFrame(
        {"note": MESSAGES, "code": pd.Categorical(MESSAGES), "plan": ["basic", "pro"] * 150}
    )
    manifest = replace(read_manifest(trained), inputs=describe(frame))
    schema = Schema(manifest.inputs, max_instances=9)
    document, metadata = json.dumps(openapi(manifest, schema)), json.dumps(public(manifest))
    assert "Dear Sir" not in document + metadata
    assert "basic, pro in the training data" in document
    assert json.loads(metadata)["inputs"][2]["categories"] == ["basic", "pro"]
    assert "golden" not in json.loads(metadata)


# --- the OpenAPI document


@given(st.data(), st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=8, unique=True))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_example_of_a_request_is_one(
    trained: Path, data: st.DataObject, names: list[str]
) -> None:
    values = {name: data.draw(column(name, 3)) for name in names}
    frame = frame_of(values)
    manifest = replace(read_manifest(trained), inputs=describe(frame))
    schema = Schema(manifest.inputs, max_instances=1)
    document = openapi(manifest, schema)
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    schema.frame(schema.decode(json.dumps(example).encode()))
    stated = document["components"]["schemas"]
    Draft202012Validator({"$ref": "#/components/schemas/PredictRequest", **document}).validate(
        example
    )
    assert list(stated["Instance"]["properties"]) == names


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("datetime64[us, UTC]", {"type": "string", "format": "date-time"}),
        (
            "datetime64[us]",
            {"type": "string", "format": "date-time", "pattern": "T[0-9:.]+$"},
        ),
        ("uint64", {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}),
        ("int8", {"type": "integer", "minimum": -128, "maximum": 127}),
        ("float64", {"type": "number"}),
        ("boolean", {"type": "boolean"}),
        ("str", {"type": "string"}),
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_the_document_states_each_type(
    trained: Path, dtype: str, expected: dict[str, Any], nullable: bool
) -> None:
    kind = {"date-time": "datetime"}.get(
        expected.get("format", ""),
        {"integer": "int", "number": "float", "boolean": "bool"}.get(expected["type"], "string"),
    )
    item: Any = {"name": "x", "type": kind, "dtype": dtype, "nullable": nullable}
    manifest = replace(read_manifest(trained), inputs=[Input(**item)])
    document = openapi(manifest, Schema(manifest.inputs, max_instances=1))
    stated = dict(document["components"]["schemas"]["Instance"]["properties"]["x"])
    stated.pop("description", None)
    assert stated == ({"anyOf": [expected, {"type": "null"}]} if nullable else expected)


# --- histograms


@pytest.mark.parametrize(
    "values",
    [
        [0.3, 0.1 + 0.2],
        [1e17, 1e17 + 16],
        [5.0] * 4,
        [-1.7e308, 1.7e308],
        [5e-324, 0.0],
        [2**64 - 1, 2**64 - 2, 0],
        [True, False, True],
        ["a"],
    ],
)
def test_a_histogram_of_whatever_numbers_counts_them_all(values: list[Any]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype="uint64" if 2**64 - 1 in values else None)})
    found = histogram(served(describe(frame), frame)["x"])
    assert sum(found.counts) == len(values)
    if found.edges:
        assert (np.diff(found.edges) > 0).all()
