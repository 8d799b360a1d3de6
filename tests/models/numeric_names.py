"""Columns that are numbered, as a frame made of an array has them."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

INPUTS = {"0": "number", "1": "number", "2": "number", "3": "number"}
OUTPUTS = {"value": "number"}


def load_data():
    table = np.random.default_rng(SEED).normal(size=(200, 4))
    return pd.DataFrame(table), 2 * table[:, 0] - table[:, 3]


def build():
    return LinearRegression()


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    return {"value": 2 * frame.iloc[:, 0] - frame.iloc[:, 3]}
