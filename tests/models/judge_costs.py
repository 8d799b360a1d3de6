"""Judged by what mistakes cost."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ORIGIN = "Breast cancer, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["cost_per_row <= 0.5", "missed_share <= 0.1"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    data = load_breast_cancer(as_frame=True)
    return data.data, data.target.map({0: "malignant", 1: "benign"})


def build():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def predict(model, frame):
    score = model.predict_proba(frame)[:, list(model.classes_).index("malignant")]
    return {"label": np.where(score >= 0.2, "malignant", "benign"), "score": score}


def judge(truth, answers, frame):
    ill, said = truth == "malignant", answers["label"] == "malignant"
    missed, alarms = (ill & ~said).sum(), (~ill & said).sum()
    return {"cost_per_row": (20 * missed + alarms) / len(ill), "missed_share": missed / ill.sum()}
