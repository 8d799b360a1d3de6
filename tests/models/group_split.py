"""Rows of one customer stay on one side of the split: else this model would seem perfect."""

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GROUP = "customer"
GATES = ["accuracy <= 0.8"]
IMPORTANCE_SECONDS = 0

INPUTS = {"habit": "number"}
OUTPUTS = {"label": "string"}


def load_data():
    rng = np.random.default_rng(SEED)
    customer = np.repeat(np.arange(60), 10)
    frame = pd.DataFrame({"customer": customer, "habit": customer + rng.normal(0, 0.01, 600)})
    return frame, np.where(rng.random(60) < 0.5, "stays", "leaves")[customer]


def build():
    return KNeighborsClassifier(1)


def predict(model, frame):
    return {"label": model.predict(frame)}
