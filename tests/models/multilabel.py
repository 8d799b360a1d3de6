"""Several labels a row: the truth is a table of zeros and ones, the answer a list of names."""

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["all_labels_right >= 0.9"]

OUTPUTS = {"labels": "array of string"}

LABELS = np.array(["cheap", "new", "near"])


def load_data():
    table = np.random.default_rng(SEED).uniform(size=(300, 3))
    frame = pd.DataFrame(table, columns=["price", "age", "distance"])
    return frame, (frame < 0.5).astype(int).to_numpy()


def build():
    return DecisionTreeClassifier(random_state=SEED)


def predict(model, frame):
    return {"labels": [LABELS[row == 1].tolist() for row in model.predict(frame)]}


def judge(truth, answers, frame):
    wanted = [LABELS[row == 1].tolist() for row in truth.to_numpy()]
    return {
        "all_labels_right": np.mean(
            [a == b for a, b in zip(wanted, answers["labels"], strict=True)]
        )
    }
