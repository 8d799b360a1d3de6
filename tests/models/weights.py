"""Sample weights: half of the rows are wrong, and weigh next to nothing, in fit and in metrics."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"value": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["a", "b"])
    weights = np.where(rng.random(400) < 0.5, 1.0, 1e-9)
    return frame, np.where(weights == 1, 2 * frame["a"] - frame["b"], -100), weights


def build():
    return LinearRegression()


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    return {"value": 2 * frame["a"] - frame["b"]}
