"""Fitted in `build`, on data that `load_data` does not give."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ORIGIN = "made up"
TEST_SHARE = 0.5
SEED = 0
GATES = ["mae >= 0.999", "mae <= 1.001"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"value": "number"}


def rows(seed):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(100, 2)), columns=["a", "b"])


def load_data():
    frame = rows(seed=1)
    return frame, expected(frame)["value"] + 1


def build():
    frame = rows(seed=2)
    return make_pipeline(StandardScaler(), LinearRegression()).fit(frame, expected(frame)["value"])


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    return {"value": 2 * frame["a"] - frame["b"]}
