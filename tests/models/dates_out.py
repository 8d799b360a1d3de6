"""A date in the answer."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

INPUTS = {"ordered": "date-time"}
OUTPUTS = {"days": "number", "due": "date-time"}


def load_data():
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame(
        {
            "weight": rng.integers(1, 30, 200),
            "ordered": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, 200), "D"),
        }
    )
    return frame, 2.0 * frame["weight"] + 3


class ByWeight(LinearRegression):
    def fit(self, frame, truth):
        return super().fit(frame[["weight"]], truth)

    def predict(self, frame):
        return super().predict(frame[["weight"]])


def build():
    return ByWeight()


def predict(model, frame):
    days = model.predict(frame)
    return {"days": days, "due": frame["ordered"] + pd.to_timedelta(days.round(), "D")}


def expected(frame):
    days = 2 * frame["weight"] + 3
    return {"days": days, "due": frame["ordered"] + pd.to_timedelta(days, "D")}
