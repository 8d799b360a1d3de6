"""Other models in the one file that its owner edits: no other file needs an edit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import PYTHON, make, serve, swapped

HEAD = """
from typing import Any

import numpy as np
import pandas as pd

ORIGIN = "a test"
TEST_SHARE = 0.25
SEED = 0
"""

REGRESSION = (
    HEAD
    + """
GATES = ["rmse <= 70"]

def load_data() -> Any:
    from sklearn.datasets import load_diabetes
    data = load_diabetes(as_frame=True)
    return data.data, data.target

def build() -> Any:
    from sklearn.linear_model import Ridge
    return Ridge(alpha=0.1)

def predict(model: Any, frame: pd.DataFrame) -> Any:
    return {"value": model.predict(frame)}
"""
)

# Every dtype that pandas' readers give, most with gaps, and a name that is no Python identifier.
MIXED = (
    HEAD
    + """
GATES = ["accuracy >= 0.6"]

def load_data() -> Any:
    rng = np.random.default_rng(0)
    n = 400
    gaps = lambda: rng.random(n) < 0.2
    frame = pd.DataFrame({
        "plan": rng.choice(["free", "plus", "pro"], n),
        "country": pd.Categorical(rng.choice(["de", "fr", "it"], n)),
        "age": rng.integers(18, 80, n),
        "active": rng.random(n) < 0.5,
        "income, k€": np.where(gaps(), np.nan, rng.normal(50, 10, n)),
        "channel": pd.Series(rng.choice(["web", "shop"], n)).mask(gaps()),
        "visits": pd.Series(rng.integers(0, 9, n), dtype="Int64").mask(gaps()),
        "newsletter": pd.Series(rng.random(n) < 0.5, dtype="boolean").mask(gaps()),
        "since": pd.Series(pd.date_range("2026", periods=n, freq="h")).mask(gaps()),
        "seen": pd.date_range("2026", periods=n, tz="Europe/Berlin"),
    })
    leaves = (frame["plan"] == "free") | (frame["age"] > 70)
    return frame, leaves.map({True: "leaves", False: "stays"})

def build() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    words = ["plan", "country", "channel", "newsletter"]
    numbers = ["age", "active", "income, k€", "visits"]
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), words),
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        ),
        LogisticRegression(max_iter=1000),
    )

def predict(model: Any, frame: pd.DataFrame) -> Any:
    return {"label": model.predict(frame), "sure": model.predict_proba(frame).max(axis=1) > 0.9}
"""
)

# A class of its own is pickled by reference, so serving must find it where training did.
OWN_CLASS_AND_CSV = (
    HEAD
    + """
from pathlib import Path
from sklearn.base import BaseEstimator, TransformerMixin

GATES = ["r2 >= 0.9"]

def load_data() -> Any:
    frame = pd.read_csv(Path(__file__).parent / "data" / "houses.csv")
    return frame.drop(columns="price"), frame["price"]

class Rooms(TransformerMixin, BaseEstimator):
    def fit(self, frame: Any, truth: Any = None) -> Any:
        self.mean_ = frame["rooms"].mean()
        return self

    def transform(self, frame: Any) -> Any:
        garden = frame["garden"].map({"yes": 1.0, "no": 0.0}).fillna(0.5)
        return np.column_stack([frame["rooms"].fillna(self.mean_), garden])

def build() -> Any:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    return make_pipeline(Rooms(), LinearRegression())

def predict(model: Any, frame: pd.DataFrame) -> Any:
    return {"price": model.predict(frame)}
"""
)

FOREST = (
    HEAD
    + """
GATES = ["accuracy >= 0.9"]

def load_data() -> Any:
    from sklearn.datasets import load_wine
    data = load_wine(as_frame=True)
    return data.data, data.target

def build() -> Any:
    from sklearn.ensemble import RandomForestClassifier
    return RandomForestClassifier(n_estimators=50, n_jobs=-1, random_state=SEED)

def predict(model: Any, frame: pd.DataFrame) -> Any:
    return {"kind": model.predict(frame), "score": model.predict_proba(frame).max(axis=1)}
"""
)

TYPES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "regression": (REGRESSION, {"bmi": "number"}, {"value": "number"}),
    "mixed": (
        MIXED,
        {
            "plan": "string",
            "country": "string",
            "age": "integer",
            "active": "boolean",
            "income, k€": ["number", "null"],
            "channel": ["string", "null"],
            "visits": ["integer", "null"],
            "newsletter": ["boolean", "null"],
            "since": ["string", "null"],
            "seen": "string",
        },
        {"label": "string", "sure": "boolean"},
    ),
    "own-class-and-csv": (
        OWN_CLASS_AND_CSV,
        {"rooms": ["number", "null"], "garden": ["string", "null"]},
        {"price": "number"},
    ),
    "forest": (FOREST, {"alcohol": "number"}, {"kind": "integer", "score": "number"}),
}

# The same rows, predicted without the service: the pickled model and model.py alone.
OFFLINE = """
import json, pathlib, joblib, model
frame, _ = model.load_data()
frame = frame.head(40)
[path] = pathlib.Path("artifact").glob("model-*.joblib")
answers = model.predict(joblib.load(path), frame)
def plain(table):
    columns = {name: table[name].astype(object).where(table[name].notna(), None) for name in table}
    return [dict(zip(columns, row)) for row in zip(*columns.values())]
rows = [dict(zip(answers, row)) for row in zip(*(array.tolist() for array in answers.values()))]
def json_of(value):
    return value.isoformat() if hasattr(value, "isoformat") else value.item()
print(json.dumps([plain(frame), rows], default=json_of))
"""


def write_csv(folder: Path) -> None:
    rows = ["rooms,garden,price"]
    for i in range(200):
        rooms, garden = 1 + i % 7, ("yes", "no")[i % 2]
        price = 50_000 * rooms + (20_000 if garden == "yes" else 0) + i
        rows.append(f"{'' if i == 30 else rooms},{'' if i == 31 else garden},{price}")
    (folder / "data").mkdir()
    (folder / "data" / "houses.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module", params=TYPES)
def other(
    baked: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, Path]:
    """A service with another model, by its name in TYPES; trained, and nothing else edited."""
    source = TYPES[request.param][0]
    return request.param, swapped(baked, tmp_path_factory.mktemp("other"), source, write_csv)


def test_swapped_model_serves_what_it_predicts_offline(other: tuple[str, Path]) -> None:
    name, folder = other
    _, inputs, outputs = TYPES[name]
    done = subprocess.run(
        [PYTHON, "-c", OFFLINE], cwd=folder, capture_output=True, text=True, check=True
    )
    instances, expected = json.loads(done.stdout)

    with serve(folder) as service:
        answers = service.predict(instances)
        in_order = service.predict([list(instance.values()) for instance in instances])
        one_by_one = [service.predict([instance])[0] for instance in instances[:5]]
        without_nulls = service.predict(
            [{k: v for k, v in instance.items() if v is not None} for instance in instances]
        )
        schemas = requests.get(f"{service.url}/openapi.json", timeout=5).json()["components"]

    assert answers == [pytest.approx(answer) for answer in expected]
    assert in_order == answers and without_nulls == answers
    assert one_by_one == [pytest.approx(answer) for answer in answers[:5]]
    found = schemas["schemas"]["Instance"]["properties"]
    kinds = {
        key: item.get("type") or [one["type"] for one in item["anyOf"]]
        for key, item in found.items()
    }
    assert {key: kinds[key] for key in inputs} == inputs
    found = schemas["schemas"]["Prediction"]["properties"]
    assert {key: field["type"] for key, field in found.items()} == outputs
    required = set(schemas["schemas"]["Instance"]["required"])
    assert not required & {key for key, kind in inputs.items() if "null" in kind}


def test_swapped_model_passes_the_services_own_tests(other: tuple[str, Path]) -> None:
    _, folder = other
    tests = [f"tests/test_{name}.py" for name in ("model", "api", "artifact", "settings")]
    command: list[Path | str] = [PYTHON, "-m", "pytest", "-q", *tests]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# As people write it: no annotations, or some; a module of their own; an input not yet used.
ORDINARY = """\
import pandas as pd
import sklearn.linear_model
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import flats

ORIGIN = "houses.csv"
TEST_SHARE = 0.2
SEED = 1
GATES = []
NOT_YET = {}


def load_data():
    frame = pd.read_csv("data/houses.csv")
    frame["price"] = frame["price"].fillna(frame["price"].mean())
    return flats.add_size(frame.drop(columns=["price"])), frame["price"]


def build():
    prepare = make_column_transformer(
        (SimpleImputer(), ["rooms", "size"]),
        (OneHotEncoder(handle_unknown="ignore"), ["garden"]),
    )
    return make_pipeline(prepare, sklearn.linear_model.Ridge(alpha=0.1))


def predict(model, frame: pd.DataFrame):
    value = model.predict(frame)
    return {"value": value, "class": flats.classify(value)}
"""

BESIDE = """\
from functools import cache

import numpy as np


@cache
def limits(step=100_000):
    return {name: i * step for i, name in enumerate(["low", "middle", "high"])}


def add_size(frame, per_room: float = 20):
    return frame.assign(size=frame["rooms"].fillna(2) * per_room)


def classify(prices: np.ndarray, names=None) -> list:
    names = names or list(limits())
    return [names[min(int(price // limits()["middle"]), 2)] for price in prices]


class Unused(dict):
    def __getattr__(self, name):
        return self[name]
"""


def test_check_passes_with_untyped_code_beside_the_model(baked: Path, tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        write_csv(folder)
        (folder / "flats.py").write_text(BESIDE)

    folder = swapped(baked, tmp_path, ORDINARY, write)
    # The owner's tests may be as untyped as the model.
    with (folder / "tests" / "test_model.py").open("a") as stream:
        stream.write(
            "\n\ndef test_prices_are_positive(answer, instances):\n"
            "    assert all(a['value'] > 0 for a in answer(instances))\n"
        )
    for target in ("format", "check"):
        done = make(folder, target)
        assert done.returncode == 0, done.stdout + done.stderr
