"""A forest that would start a process per core, and classes that are whole numbers."""

from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier

ORIGIN = "Wine, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]

INPUTS = {"alcohol": "number"}
OUTPUTS = {"kind": "integer", "score": "number"}


def load_data():
    data = load_wine(as_frame=True)
    return data.data, data.target


def build():
    return RandomForestClassifier(n_estimators=50, n_jobs=-1, random_state=SEED)


def predict(model, frame):
    return {"kind": model.predict(frame), "score": model.predict_proba(frame).max(axis=1)}
