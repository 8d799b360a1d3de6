"""Classes of very different size: one has a single row."""

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"label": "string"}


def load_data():
    frame = pd.DataFrame({"size": np.arange(200) / 2})
    truth = np.where(frame["size"] < 90, "small", "large")
    truth[-1] = "giant"
    return frame, pd.Series(truth, name="label")


def build():
    return DecisionTreeClassifier(random_state=SEED)


def predict(model, frame):
    return {"label": model.predict(frame)}
