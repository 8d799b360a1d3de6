"""Already trained, elsewhere: a file beside model.py. The truth would teach something else."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

ORIGIN = "made up"
TEST_SHARE = 0.5
SEED = 0
GATES = ["mae <= 1.001"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"value": "number"}

FILE = Path(__file__).parent / "trained.joblib"


def make_files():
    frame = rows()
    joblib.dump(LinearRegression().fit(frame, expected(frame)["value"]), FILE)


def rows():
    return pd.DataFrame(np.random.default_rng(SEED).normal(size=(200, 2)), columns=["a", "b"])


def load_data():
    return rows(), expected(rows())["value"] + 1


def build():
    return joblib.load(FILE)


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    return {"value": 2 * frame["a"] - frame["b"]}
