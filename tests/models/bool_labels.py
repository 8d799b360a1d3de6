"""Two classes, true and false."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
POSITIVE = True
GATES = ["accuracy >= 0.9", "recall >= 0.9"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"leaves": "boolean", "score": "number"}


def load_data():
    frame = pd.DataFrame(np.random.default_rng(SEED).normal(size=(400, 2)), columns=["a", "b"])
    return frame, frame["a"] + frame["b"] > 0


def build():
    return LogisticRegression()


def predict(model, frame):
    return {"leaves": model.predict(frame), "score": model.predict_proba(frame)[:, 1]}
