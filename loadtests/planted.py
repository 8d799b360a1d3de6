"""Samples of one distribution, with every kind of column, and faults to plant into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

import loadtests.template  # noqa: F401  # for the imports from a service
from service.artifact import FORMAT, Baseline, Data, Golden, Manifest, Outputs, Source
from training.inputs import describe, histogram, served
from training.validation import validate

OLD_ROWS, NEW_ROWS = 1000, 1500


class Fault(NamedTuple):
    column: str
    plant: Callable[[pd.DataFrame], pd.DataFrame]


FAULTS = {
    "a column is gone": Fault("wait", lambda f: f.drop(columns="wait")),
    "a column is new": Fault("height", lambda f: f.assign(height=1.8)),
    "numbers came as text": Fault("age", lambda f: f.assign(age=f["age"].astype(str))),
    "grams instead of kilograms": Fault("weight", lambda f: f.assign(weight=f["weight"] * 1000)),
    "15 % of a column missing, not 5 %": Fault(
        "income", lambda f: f.assign(income=f["income"].where(f.index % 10 > 0))
    ),
    "a category renamed": Fault(
        "plan", lambda f: f.assign(plan=f["plan"].replace("pro", "professional"))
    ),
    "nobody younger than 40": Fault("age", lambda f: f.assign(age=f["age"].clip(lower=40))),
}


def found(seed: int, fault: Fault | None = None) -> set[str]:
    """Return the columns of which something is found in a sample, after another as live's data."""
    rng = np.random.default_rng(seed)
    old, new = sample(rng, OLD_ROWS), sample(rng, NEW_ROWS)
    new = fault.plant(new) if fault else new
    inputs = describe(new)
    return {one.column for one in validate(manifest(old), inputs, served(inputs, new))}


def sample(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Return rows of one distribution, of every kind of column."""
    income = rng.lognormal(8, 0.5, rows)
    income[rng.random(rows) < 0.05] = np.nan
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "weight": rng.normal(70, 12, rows),
            "income": income,
            "wait": rng.exponential(3, rows),
            "visits": rng.poisson(2, rows),
            "plan": rng.choice(["basic", "plus", "pro"], rows, p=[0.7, 0.25, 0.05]),
            "region": pd.Categorical(rng.choice(["north", "south", "west"], rows)),
            "member": rng.random(rows) < 0.3,
            "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), "D"),
        }
    )


def manifest(frame: pd.DataFrame) -> Manifest:
    """Return the manifest of a model that learnt from `frame`, as far as data are compared."""
    inputs = describe(frame)
    frame = served(inputs, frame)
    public = [item.name for item in inputs if item.public and item.type != "datetime"]
    return Manifest(
        format=FORMAT,
        name="",
        version="",
        created_at="",
        files={},
        runtime={},
        source=Source(git_sha=None, dirty=None, sha256="", modules=[]),
        data=Data(origin="", rows=len(frame), sha256=""),
        seed=0,
        inputs=inputs,
        outputs=Outputs(kind="other", classes=[], fields=[]),
        metrics={},
        gates=[],
        baseline=Baseline(inputs={name: histogram(frame[name]) for name in public}, outputs={}),
        golden=Golden(instances=[], predictions=[]),
    )
