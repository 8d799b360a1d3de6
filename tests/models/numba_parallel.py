"""A function compiled by numba when model.py is imported, which computes in threads of its own."""

import numpy as np
import pandas as pd
from numba import njit, prange

NEEDS = ["numba"]

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"value": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["a", "b"])
    return frame, pd.Series(expected(frame)["value"])


@njit(parallel=True)
def weighted(rows, weights):
    sums = np.zeros(len(rows))
    for i in prange(len(rows)):
        for j in range(len(weights)):
            sums[i] += rows[i, j] * weights[j]
    return sums


weighted(np.zeros((8, 2)), np.zeros(2))  # the first call compiles: no request waits for it


class Weighted:
    def fit(self, frame, truth):
        self.weights = np.linalg.lstsq(frame.to_numpy(), truth.to_numpy(), rcond=None)[0]

    def predict(self, frame):
        return weighted(np.ascontiguousarray(frame.to_numpy()), self.weights)


def build():
    return Weighted()


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    return {"value": 2 * frame["a"] + frame["b"]}
