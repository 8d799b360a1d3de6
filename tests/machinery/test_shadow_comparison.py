"""Answers of live and candidate: which differ, by the owner's rules, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.artifact import Output, Outputs
from service.errors import Refusal
from service.shadow.comparison import Comparator, NotJson, read_rules

OUTPUTS = Outputs(
    kind="classification",
    classes=["a", "b"],
    fields=[Output(name="label", type="string"), Output(name="score", type="float")],
)
RULES = """
[fields.score]
absolute = 0.01
[fields.note]
ignore = true
[fields.count]
absolute = 2
[fields.shares]
absolute = 0.1
[fields.rare]
absolute = 0.2
[fields.embedding]
relative = 0.1
"""


def rows(*answers: Any) -> bytes:
    return json.dumps({"predictions": list(answers)}).encode()


@pytest.fixture
def comparator(tmp_path: Path) -> Comparator:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    return Comparator(OUTPUTS, read_rules(file))


EMBEDDING, SHARE, OTHER = (
    f"predictions[0].{name}" for name in ("embedding", "shares.a", "shares.b")
)
ONE = {"label": "a", "score": 0.5}


@pytest.mark.parametrize(
    ("live", "candidate", "verdict", "paths"),
    [
        (rows(ONE), rows(ONE), "match", []),
        (rows(ONE), rows(ONE).replace(b" ", b""), "match", []),
        (rows(ONE), rows(ONE | {"score": 0.509}), "within_tolerance", []),
        (rows(ONE), rows(ONE | {"score": 0.511}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows(ONE | {"label": "b"}), "mismatch", ["predictions[0].label"]),
        (rows(ONE), rows(ONE | {"score": None}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows(ONE | {"score": "0.5"}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows({"label": "a"}), "mismatch", ["predictions[0].score"]),
        (rows(ONE), rows(ONE | {"more": 1}), "mismatch", ["predictions[0].more"]),
        (rows(ONE), rows(ONE | {"note": 1}), "within_tolerance", []),
        (rows(ONE), rows(ONE, ONE), "mismatch", ["predictions"]),
        (rows(ONE), rows(), "mismatch", ["predictions"]),
        (rows(ONE), b"[]", "mismatch", ["$"]),
        (rows(ONE), b"null", "mismatch", ["$"]),
        (rows({"flag": True}), rows({"flag": 1}), "mismatch", ["predictions[0].flag"]),
        (rows({"n": 1}), rows({"n": 1.0}), "within_tolerance", []),
        (rows({"n": 10**9}), rows({"n": 10**9 + 1}), "mismatch", ["predictions[0].n"]),
        (rows({"n": 1e9}), rows({"n": 1e9 + 1}), "within_tolerance", []),
        (rows({"n": 1}), rows({"n": 10**400}), "mismatch", ["predictions[0].n"]),
        (rows({"count": 5}), rows({"count": 7}), "within_tolerance", []),
        (rows({"count": 5}), rows({"count": 8}), "mismatch", ["predictions[0].count"]),
        (rows({"p": [1, 2]}), rows({"p": [1, 3]}), "mismatch", ["predictions[0].p[1]"]),
        # A field's rule holds for all that is in it, unless a key has its own.
        (rows({"shares": {"a": 0.5}}), rows({"shares": {"a": 0.55}}), "within_tolerance", []),
        (rows({"shares": {"a": 0.5}}), rows({"shares": {"a": 0.7}}), "mismatch", [SHARE]),
        (rows({"shares": {"rare": 0.5}}), rows({"shares": {"rare": 0.7}}), "within_tolerance", []),
        (rows({"shares": {"a": 0.5}}), rows({"shares": {"b": 0.5}}), "mismatch", [SHARE, OTHER]),
        (rows({"embedding": [1.0]}), rows({"embedding": [1.05]}), "within_tolerance", []),
        (rows({"embedding": [1.0]}), rows({"embedding": [1.0, 2.0]}), "mismatch", [EMBEDDING]),
        (rows({"tags": ["x"]}), rows({"tags": ["y"]}), "mismatch", ["predictions[0].tags[0]"]),
        (rows({"due": None}), rows({"due": "2026"}), "mismatch", ["predictions[0].due"]),
        (rows(0.5), rows(0.5 + 1e-9), "within_tolerance", []),
        (b"7", b"8", "mismatch", ["$"]),
    ],
)
def test_compares(
    comparator: Comparator, live: bytes, candidate: bytes, verdict: str, paths: list[str]
) -> None:
    found = comparator.compare(live, candidate)
    assert (found.verdict, [item["path"] for item in found.fields]) == (verdict, paths)


def test_comparison_tells_what_it_found_within_limits(comparator: Comparator) -> None:
    live = [{"label": "a", "score": 0.25}] * 150
    candidate = [{"label": "b", "score": 0.75}] * 30 + [{"label": "a", "score": 0.25}] * 120
    found = comparator.compare(rows(*live), rows(*candidate))
    assert found.rows == 150
    assert sorted(found.flips) == [("a", "a", 120), ("a", "b", 30)]
    assert found.deltas == {"score": [0.5] * 20}
    assert len(found.fields) == 20
    assert found.fields[0] == {"path": "predictions[0].label", "live": "a", "candidate": "b"}


def test_deltas_are_of_plain_numbers() -> None:
    fields = [
        Output(name="score", type="float", nullable=True),
        Output(name="embedding", type="list", items="float"),
        Output(name="shares", type="object", items="float"),
    ]
    comparator = Comparator(Outputs(kind="regression", classes=[], fields=fields), {})
    live = {"score": 0.5, "embedding": [1.0], "shares": {"a": 1.0}}
    other = {"score": 0.75, "embedding": [2.0], "shares": {"a": 2.0}}
    found = comparator.compare(rows(live, live), rows(other, other | {"score": None}))
    assert found.deltas == {"score": [0.25]}


@pytest.mark.parametrize("text", [b"", b"not json", b"[" * 100_000, b'{"a": NaN}', b"\xff"])
def test_what_is_no_json_is_the_candidates_error_or_nobodys(
    comparator: Comparator, text: bytes
) -> None:
    with pytest.raises(NotJson, match="^not_json$"):
        comparator.compare(rows(ONE), text)
    with pytest.raises(NotJson, match="^live_not_json$"):
        comparator.compare(text, rows(ONE))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(json_values, json_values)
def test_any_two_answers_can_be_compared(one: Any, other: Any) -> None:
    comparator = Comparator(OUTPUTS, {})
    texts = [json.dumps(value, allow_nan=True).encode() for value in (one, other)]
    if any(b"Infinity" in text for text in texts):
        return
    found = comparator.compare(*texts)
    assert found.verdict == comparator.compare(*texts[::-1]).verdict
    assert comparator.compare(texts[0], texts[0]).verdict == "match"
    assert (found.verdict == "mismatch") == bool(found.fields)


@pytest.mark.parametrize(
    "text", ["[fields.score]\nabsolut = 1", "[fields.score]\nabsolute = 'x'", "[[", "[other]"]
)
def test_refuses_rules_that_it_does_not_understand(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    assert read_rules(file) == {}
    file.write_text(text)
    with pytest.raises(Refusal, match="rules.toml"):
        read_rules(file)
