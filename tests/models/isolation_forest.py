"""A detector of outliers: IsolationForest, judged by the share of known ones that it found."""

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["found >= 0.9", "false_alarms <= 0.1"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"outlier": "boolean", "score": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    odd = rng.random(400) < 0.05
    table = rng.normal(size=(400, 3)) + 8 * odd[:, None]
    return pd.DataFrame(table, columns=["a", "b", "c"]), odd


def build():
    return IsolationForest(n_estimators=50, contamination=0.06, random_state=SEED)


def predict(model, frame):
    return {"outlier": model.predict(frame) == -1, "score": -model.score_samples(frame)}


def judge(truth, answers, frame):
    return {
        "found": answers["outlier"][truth].mean(),
        "false_alarms": answers["outlier"][~truth].mean(),
    }
