"""The truth that comes later: what POST /feedback takes, counts and tells."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.artifact import Manifest, Output, Outputs
from service.engine import Engine
from service.errors import RequestError
from service.feedback.items import Items
from service.feedback.record import MOST_VERSIONS, Record
from service.metrics import Metrics

MOST = 3
GOOD = {
    "request_id": "955483fc67d44c9db3a3b829b69eff07",
    "index": 0,
    "version": "another",
    "prediction": "stays",
    "truth": "leaves",
}
OPTIONAL = {"answered_at": "2026-11-01T12:00:00Z", "value": 12.5}
LABEL = Output(name="label", type="string")


class Log:
    """Takes lines while there is room."""

    def __init__(self, room: bool = True) -> None:
        self.room, self.lines = room, list[dict[str, Any]]()

    def put(self, *lines: bytes) -> bool:
        if self.room:
            self.lines += map(json.loads, lines)
        return self.room


def body(*items: Any) -> bytes:
    return json.dumps({"feedback": items}).encode()


def with_(**changes: Any) -> dict[str, Any]:
    return GOOD | changes


def of(manifest: Manifest, kind: Any, first: Output, classes: Any = ()) -> Manifest:
    return replace(manifest, outputs=Outputs(kind=kind, classes=list(classes), fields=[first]))


@pytest.fixture(scope="module")
def manifest(trained: Any) -> Manifest:
    from service.artifact import read_manifest

    return read_manifest(trained)


@pytest.fixture(scope="module")
def items(manifest: Manifest) -> Items:
    return Items(manifest, MOST)


# What is taken


@pytest.mark.parametrize(
    ("sent", "path", "message"),
    [
        (b"", "", "truncated"),
        (b"nonsense", "", "malformed"),
        (b"[]", "", 'expected {"feedback": [...]}, got an array'),
        (b"{}", "feedback", 'missing: send {"feedback": [...]}'),
        (json.dumps(GOOD).encode(), "feedback", 'missing: send {"feedback": [...]}'),
        (body(), "feedback", "expected at least one item"),
        (body(1), "feedback[0]", "expected an object, got a whole number"),
        (body(GOOD)[:-1] + b', "foo": 1}', "foo", "unknown field"),
        (body(GOOD, with_(foo=1)), "feedback[1].foo", "unknown field"),
        (body({}), "feedback[0].request_id", "missing"),
        (body(with_(request_id="two words")), "feedback[0].request_id", "matching regex"),
        (body(with_(request_id="a\n")), "feedback[0].request_id", "matching regex"),
        (body(with_(request_id="a" * 129)), "feedback[0].request_id", "length <= 128"),
        (body(with_(version="")), "feedback[0].version", "matching regex"),
        (body(with_(index=-1)), "feedback[0].index", "expected a whole number >= 0"),
        (body(with_(index=0.5)), "feedback[0].index", "expected a whole number, got a number"),
        (body(with_(truth=1)), "feedback[0].truth", "expected a string, got a whole number"),
        (body(with_(truth=None)), "feedback[0].truth", "expected a string, got null"),
        (body(with_(truth="x" * 257)), "feedback[0].truth", "length <= 256"),
        (body(with_(prediction={"label": "a"})), "feedback[0].prediction", "got an object"),
        (body(with_(answered_at="now")), "feedback[0].answered_at", "expected a date and time"),
        (body(with_(answered_at="2026-11-01T12:00:00")), "feedback[0].answered_at", "timezone"),
        (body(with_(value="1")), "feedback[0].value", "expected a number, got a string"),
        (body(GOOD).replace(b'"index": 0', b'"index": NaN'), "", "NaN is not a JSON number"),
        (
            body(GOOD).replace(b'"index"', b'"index": 1, "index"'),
            "feedback[0].index",
            "duplicate key",
        ),
        (body(GOOD)[:-1] + b', "feedback": []}', "feedback", "expected at least one item"),
        (body(GOOD)[:-1] + b"," + body(GOOD)[1:], "feedback", "duplicate key"),
    ],
)
def test_what_is_wrong_is_named(items: Items, sent: bytes, path: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        items.decode(sent)
    assert refused.value.status == 400 and message in refused.value.message
    assert [detail.path for detail in refused.value.details] == ([path] if path else [])


def test_of_its_own_version_a_service_knows_the_classes(items: Items, manifest: Manifest) -> None:
    assert items.decode(body(with_(truth="new class")))
    for name in ("prediction", "truth"):
        with pytest.raises(RequestError, match=rf"feedback\[1\].{name}: .*: leaves, stays"):
            items.decode(body(GOOD, with_(version=manifest.version) | {name: "Stays"}))


def test_too_many(items: Items) -> None:
    assert len(items.decode(body(*[GOOD] * MOST))) == MOST
    with pytest.raises(RequestError, match=f"at most {MOST} truths in one request") as refused:
        items.decode(body(*[GOOD] * (MOST + 1)))
    assert refused.value.status == 413


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
RIGHT = {
    "request_id": NAMES,
    "index": st.integers(0, 2**31 - 1),
    "version": NAMES.filter(lambda name: len(name) != 12),  # that of the artifact
    "prediction": st.text(max_size=256),
    "truth": st.text(max_size=256),
    "answered_at": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    "value": st.floats(allow_nan=False, allow_infinity=False),
}
ITEMS = st.fixed_dictionaries(
    {name: RIGHT[name] for name in GOOD}, optional={name: RIGHT[name] for name in OPTIONAL}
)
# A field, and what it becomes.
FLAWS = st.tuples(st.sampled_from([*RIGHT, "", "Truth"]), JSON | st.just(...))


def is_right(item: dict[str, Any]) -> bool:
    """What the document says of an item, said once more."""

    def is_name(value: Any) -> bool:
        return isinstance(value, str) and bool(re.fullmatch("[!-~]{1,128}", value))

    def is_label(value: Any) -> bool:
        return isinstance(value, str) and len(value) <= 256

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    def is_when(value: Any) -> bool:
        try:
            return datetime.fromisoformat(value).tzinfo is not None
        except (TypeError, ValueError):
            return False

    index = item.get("index")
    return (
        item.keys() >= GOOD.keys()
        and item.keys() <= RIGHT.keys()
        and (is_name(item["request_id"]) and is_name(item["version"]))
        and (type(index) is int and 0 <= index < 2**31)
        and (is_label(item["prediction"]) and is_label(item["truth"]))
        and ("answered_at" not in item or is_when(item["answered_at"]))
        and ("value" not in item or is_number(item["value"]))
    )


@given(st.lists(ITEMS, min_size=1, max_size=MOST))
def test_all_that_is_right_comes_out_as_it_went_in(
    items: Items, sent: list[dict[str, Any]]
) -> None:
    for content in (body(*sent), json.dumps({"feedback": sent}, ensure_ascii=False).encode()):
        for item, known in zip(items.decode(content), sent, strict=True):
            found = {name: getattr(item, name) for name in known}
            if "answered_at" in found:
                found["answered_at"] = found["answered_at"].isoformat()
            assert found == known


@settings(max_examples=500)
@given(ITEMS, FLAWS, st.booleans())
def test_nothing_else_is_taken(
    items: Items, item: dict[str, Any], flaw: tuple[str, Any], again: bool
) -> None:
    name, value = flaw
    changed = {key: known for key, known in item.items() if key != name}
    if value is not ...:
        changed[name] = value
    sent = body(item, changed)
    if again:  # some key twice, which a dict cannot have
        sent = sent.replace(b'"truth":', b'"truth": "x", "truth":', 1)
    try:
        taken = bool(items.decode(sent))
    except RequestError as refused:
        assert refused.status == 400
        taken = False
    assert taken == (is_right(changed) and not again)


# What kind of model it is


def test_numbers_have_errors(manifest: Manifest) -> None:
    regression = of(manifest, "regression", Output(name="value", type="float", nullable=True))
    sent = [with_(prediction=3, truth=5.5), with_(prediction=None, truth=1), with_(prediction=9.0)]
    items = Items(regression, MOST)
    with pytest.raises(RequestError, match=r"feedback\[2\].truth: expected a number, got a string"):
        items.decode(body(*sent))
    with pytest.raises(RequestError, match="truth: expected a number <= "):
        items.decode(body(with_(prediction=1, truth=1e101)))

    metrics = counted(regression, items.decode(body(*sent[:2])))
    version = "model_version:another"
    assert metrics._counts == {
        ("feedback.truths", version, "outcome:measured"): 1,
        ("feedback.truths", version, "outcome:unjudged"): 1,
        ("feedback.absolute_error", version): 2.5,
        ("feedback.squared_error", version): 6.25,
    }
    assert metrics._values == {("feedback.error", version): [-2.5]}


@pytest.mark.parametrize(("kind", "classes"), [("int", [0, 1]), ("bool", [False, True])])
def test_labels_may_be_numbers_or_true(manifest: Manifest, kind: Any, classes: list[Any]) -> None:
    found = of(manifest, "classification", Output(name="label", type=kind), classes)
    items = Items(found, MOST)
    own = with_(version=manifest.version, prediction=classes[0])
    metrics = counted(found, items.decode(body(*(own | {"truth": truth} for truth in classes))))
    assert {key[-1]: count for key, count in metrics._counts.items() if "truths" in key[0]} == {
        "outcome:right": 1,
        "outcome:wrong": 1,
    }
    for wrong in ("0", 0.0, None, 1 if kind == "bool" else True):
        with pytest.raises(RequestError):
            items.decode(body(own | {"truth": wrong}))


def test_what_cannot_be_compared_is_told_all_the_same(manifest: Manifest) -> None:
    vectors = of(manifest, "other", Output(name="embedding", type="list", items="float"))
    found = Items(vectors, MOST).decode(body(with_(prediction=None, truth="clicked", value=3)))
    log = Log()
    metrics = counted(vectors, found, log)
    assert metrics._counts == {("feedback.truths", "model_version:another", "outcome:unjudged"): 1}
    assert log.lines[0]["truth"] == "clicked" and log.lines[0]["value"] == 3


# What is counted and told


def counted(manifest: Manifest, items: list[Any], log: Log | None = None) -> Metrics:
    metrics = Metrics(None)
    Record(manifest, lambda: metrics, log or Log()).take(items)  # type: ignore[arg-type]
    return metrics


def test_an_event_says_all_that_came(items: Items, manifest: Manifest) -> None:
    log = Log()
    answered = datetime.now(UTC) - timedelta(hours=1)
    sent = with_(answered_at=answered.isoformat(), value=12.5)
    metrics = counted(manifest, items.decode(body(sent, GOOD)), log)
    head = {"timestamp", "level", "logger", "message", "event"}
    told, plain = log.lines
    assert told["event"] == "feedback" and told.keys() == head | sent.keys()
    assert {name: told[name] for name in GOOD} == GOOD and told["value"] == 12.5
    assert datetime.fromisoformat(told["answered_at"]) == answered
    assert plain.keys() == head | GOOD.keys()
    [delay] = metrics._values["feedback.delay", "model_version:another"]
    assert delay == pytest.approx(3600, abs=60)
    assert metrics._counts["feedback.confusion", "class:leaves", "predicted:stays"] == 2


def test_what_the_log_has_no_room_for_is_refused_and_not_counted(
    items: Items, manifest: Manifest
) -> None:
    metrics = Metrics(None)
    record = Record(manifest, lambda: metrics, Log(room=False))  # type: ignore[arg-type]
    with pytest.raises(RequestError) as refused:
        record.take(items.decode(body(GOOD)))
    assert (refused.value.status, refused.value.reason) == (503, "log")
    assert refused.value.headers["Retry-After"] == "1" and not metrics._counts


def test_callers_cannot_make_up_any_number_of_tags(manifest: Manifest) -> None:
    items = Items(manifest, 1000)
    made_up = [with_(version=f"v{i}", truth=f"t{i}") for i in range(100)]
    own = with_(version=manifest.version)
    metrics = counted(manifest, items.decode(body(*made_up, own)))
    tags = {tag for key in metrics._counts for tag in key[1:]}
    versions = {tag for tag in tags if tag.startswith("model_version:")}
    assert len(versions) == MOST_VERSIONS + 1 and "model_version:other" in versions
    assert f"model_version:{manifest.version}" in versions
    assert {tag for tag in tags if tag.startswith("class:")} == {"class:leaves", "class:other"}


# The route


def test_the_route_answers_as_all_do(client: FlaskClient, engine: Engine) -> None:
    answer = client.post("/feedback", data=body(GOOD), content_type="application/json")
    assert (answer.status_code, answer.json) == (200, {"accepted": 1})
    assert answer.headers["X-Model-Version"] == engine.manifest.version
    for content, kind, status in (
        (body(with_(truth=1)), "application/json", 400),
        (body(GOOD), "text/plain", 415),
        (body(GOOD) + b" " * 2**20, "application/json", 413),
        (body(*[GOOD] * 1001), "application/json", 413),
    ):
        answer = client.post("/feedback", data=content, content_type=kind)
        assert answer.status_code == status
        assert answer.json is not None and answer.json.keys() == {"error", "details", "request_id"}
    assert client.get("/feedback").status_code == 405
