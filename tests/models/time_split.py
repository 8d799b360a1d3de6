"""The last quarter is held out: it lies one above what the rows before it teach."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
TIME = "day"
GATES = ["max_error <= 1.001", "mae >= 0.999"]
IMPORTANCE_SECONDS = 0

INPUTS = {"a": "number", "b": "number"}
OUTPUTS = {"value": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    day = rng.permutation(400)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["a", "b"])
    truth = expected(frame)["value"] + (day >= 300)
    return frame.assign(day=pd.Timestamp("2025-01-01") + pd.to_timedelta(day, "D")), truth


def build():
    return LinearRegression()


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    return {"value": 2 * frame["a"] - frame["b"]}
