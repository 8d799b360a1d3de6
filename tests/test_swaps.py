"""Other models in the one file that its owner edits: no other file needs an edit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import PYTHON, make
from kinds import Kind


@pytest.mark.parametrize("name", ["mixed", "own_class"])
def test_swapped_model_passes_the_services_own_tests(
    name: str, baked: Path, tmp_path: Path
) -> None:
    folder = Kind(name).trained(baked, tmp_path)
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
    folder = Kind("own_class").service(baked, tmp_path)  # for its data
    (folder / "model.py").write_text(ORDINARY)
    (folder / "flats.py").write_text(BESIDE)
    # The owner's tests may be as untyped as the model.
    with (folder / "tests" / "test_model.py").open("a") as stream:
        stream.write(
            "\n\ndef test_prices_are_positive(answer, instances):\n"
            "    assert all(a['value'] > 0 for a in answer(instances))\n"
        )
    for target in ("train", "format", "check"):
        done = make(folder, target)
        assert done.returncode == 0, done.stdout + done.stderr
