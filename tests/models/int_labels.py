"""Classes that are whole numbers, not from zero on."""

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"stars": "integer"}


def load_data():
    frame = pd.DataFrame(np.random.default_rng(SEED).uniform(size=(300, 2)), columns=["a", "b"])
    return frame, np.select([frame["a"] < 0.3, frame["a"] < 0.6], [-1, 5], 70)


def build():
    return DecisionTreeClassifier(random_state=SEED)


def predict(model, frame):
    return {"stars": model.predict(frame)}
