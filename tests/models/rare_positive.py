"""A positive class of one row in fifty: it is that which the gates are about."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
POSITIVE = "fraud"
GATES = ["precision >= 0.7", "recall >= 0.7", "average_precision >= 0.8"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    fraud = rng.random(2000) < 0.02
    amount = rng.normal(100, 20, 2000) + 120 * fraud
    frame = pd.DataFrame({"amount": amount, "hour": rng.integers(0, 24, 2000)})
    return frame, np.where(fraud, "fraud", "fine")


def build():
    return make_pipeline(StandardScaler(), LogisticRegression())


def predict(model, frame):
    return {"label": model.predict(frame), "score": model.predict_proba(frame)[:, 1]}
