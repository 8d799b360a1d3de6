"""New data are held against the live model's manifest: faults are found, chance is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.artifact import Baseline, Manifest, read_manifest
from training.inputs import describe, histogram, served
from training.validation import Finding, validate

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def manifest(trained: Path) -> Manifest:
    return read_manifest(trained)


def learnt(manifest: Manifest, frame: pd.DataFrame) -> Manifest:
    """Return the manifest of a model that learnt from `frame`."""
    inputs = describe(frame)
    frame = served(inputs, frame)
    public = [item.name for item in inputs if item.public and item.type != "datetime"]
    histograms = {name: histogram(frame[name]) for name in public}
    return replace(
        manifest,
        inputs=inputs,
        data=replace(manifest.data, rows=len(frame)),
        baseline=Baseline(inputs=histograms, outputs={}),
    )


def found(manifest: Manifest, old: pd.DataFrame, new: pd.DataFrame) -> list[Finding]:
    inputs = describe(new)
    return validate(learnt(manifest, old), inputs, served(inputs, new))


def sample(seed: int, rows: int = 1000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    income = pd.Series(rng.lognormal(8, 0.5, rows))
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": income.where(rng.random(rows) > 0.05),
            "plan": rng.choice(["basic", "plus", "pro"], rows),
            "region": pd.Categorical(rng.choice(["north", "south"], rows)),
            "member": rng.random(rows) < 0.5,
            "visits": pd.array(rng.poisson(2, rows), dtype="Int64"),
            "asked": pd.array(rng.random(rows) < 0.1, dtype="boolean"),
            "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 99, rows), "D"),
            "note": [f"note {rng.integers(10**9)}" for _ in range(rows)],
        }
    )


@pytest.mark.parametrize(("old", "new"), [(1000, 1000), (500, 4000), (4000, 150)])
def test_samples_of_one_distribution_differ_in_nothing(
    manifest: Manifest, old: int, new: int
) -> None:
    for seed in range(5):
        assert found(manifest, sample(seed, old), sample(seed + 100, new)) == []


def test_the_same_data_differ_in_nothing(manifest: Manifest) -> None:
    assert found(manifest, sample(0), sample(0)) == []


BREAKING: list[tuple[str, str, Change]] = [
    ("income", "is gone", lambda f: f.drop(columns="income")),
    ("height", "is new: callers do not send it", lambda f: f.assign(height=1.8)),
    ("age", "was int, is string", lambda f: f.assign(age=f["age"].astype(str))),
    ("member", "was bool, is int", lambda f: f.assign(member=f["member"].astype(int))),
    (
        "age",
        "is int8, which does not hold 18 to 200",
        lambda f: f.assign(age=f["age"].clip(upper=100).astype("int8")),
    ),
    (
        "income",
        "has no gaps any more, so callers would have to send it",
        lambda f: f.assign(income=f["income"].fillna(f["income"].median())),
    ),
    (
        "since",
        "dates have a time zone now",
        lambda f: f.assign(since=f["since"].dt.tz_localize("UTC")),
    ),
    (
        "income",
        "stands at another place: callers may send rows as lists",
        lambda f: f[["income", "age", *f.columns[2:]]],
    ),
]


@pytest.mark.parametrize(("column", "line", "change"), BREAKING)
def test_what_callers_could_not_call_is_breaking(
    manifest: Manifest, column: str, line: str, change: Change
) -> None:
    old, new = sample(0), sample(1)
    old.loc[0, "age"] = new.loc[0, "age"] = 200
    first = found(manifest, old, change(new))[0]
    assert first == Finding(column, line, breaking=True)


NOT_BREAKING: list[tuple[str, str, Change]] = [
    (
        "age",
        "has gaps in 1 of 1,000 rows (0.10%), live had none",
        lambda f: f.assign(age=f["age"].astype("Int64").where(f.index > 0)),
    ),
    (
        "since",
        "has gaps in 10 of 1,000 rows (1.00%), live had none",
        lambda f: f.assign(since=f["since"].where(f.index >= 10)),
    ),
    (
        "note",
        "has gaps in 10 of 1,000 rows (1.00%), live had none",
        lambda f: f.assign(note=f["note"].where(f.index >= 10)),
    ),
    (
        "income",
        "has gaps in 20",
        lambda f: f.assign(income=f["income"].where(f.index >= 160)),
    ),
    (
        "plan",
        "has new categories in 100 of 1,000 rows (10.00%): team",
        lambda f: f.assign(plan=f["plan"].where(f.index >= 100, "team")),
    ),
    (
        "region",
        "has new categories in 1 of 1,000 rows (0.10%): west",
        lambda f: f.assign(region=f["region"].astype(str).where(f.index > 0, "west")),
    ),
    (
        "age",
        "lies outside of live's range, 18 to 89, in 40 of 1,000 rows (4.00%)",
        lambda f: f.assign(age=f["age"].where(f.index >= 40, 999)),
    ),
    ("age", "was int, is float", lambda f: f.assign(age=f["age"] + 0.5)),
]


@pytest.mark.parametrize(("column", "line", "change"), NOT_BREAKING)
def test_what_differs_is_told_with_figures(
    manifest: Manifest, column: str, line: str, change: Change
) -> None:
    lines = found(manifest, sample(0), change(sample(1)))
    assert [one.column for one in lines if one.distance is None] == [column]
    assert lines[0].line.startswith(line) and not lines[0].breaking


SHIFTS: list[tuple[str, Change]] = [
    ("age", lambda f: f.assign(age=f["age"].clip(lower=40))),
    ("visits", lambda f: f.assign(visits=f["visits"] // 2)),
    ("income", lambda f: f.assign(income=f["income"].clip(upper=3000))),
    ("plan", lambda f: f.assign(plan=f["plan"].where(f.index % 2 > 0, "pro"))),
    ("member", lambda f: f.assign(member=f["member"] & (f.index % 2 > 0))),
    ("asked", lambda f: f.assign(asked=f["asked"] | (f.index % 4 == 0))),
]


@pytest.mark.parametrize(("column", "change"), SHIFTS)
def test_a_shift_is_told_with_its_distance(manifest: Manifest, column: str, change: Change) -> None:
    [shift] = found(manifest, sample(0), change(sample(1)))
    assert shift.column == column and not shift.breaking
    assert shift.distance is not None and 0.1 < shift.distance < 0.6
    assert f"distance {shift.distance:.2f} of 1" in shift.line


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(["float64", "int64", "bool", "str"]),
    st.lists(st.integers(-3, 3), min_size=1, max_size=200),
    st.lists(st.integers(-3, 3), min_size=1, max_size=200),
)
def test_any_two_columns_are_compared(
    manifest: Manifest, dtype: Any, old: list[int], new: list[int]
) -> None:
    frames = [pd.DataFrame({"x": pd.Series(values).astype(dtype)}) for values in (old, new)]
    for one in found(manifest, *frames):
        assert one.distance is None or 0.1 < one.distance <= 1
    assert found(manifest, frames[0], frames[0]) == []


def test_a_few_new_extremes_in_a_larger_sample_are_no_finding(manifest: Manifest) -> None:
    old, new = (pd.DataFrame({"x": np.random.default_rng(n).normal(size=n)}) for n in (200, 20_000))
    outside = int(((new["x"] < old["x"].min()) | (new["x"] > old["x"].max())).sum())
    assert outside > 50 and found(manifest, old, new) == []


def test_no_page_gets_values_of_free_text(manifest: Manifest) -> None:
    lines = found(manifest, sample(0), sample(1).assign(plan=sample(1)["note"]))
    assert {one.column for one in lines} == {"plan"}
    assert all("note" not in one.line for one in lines)
