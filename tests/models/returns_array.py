"""`predict` that returns an array; a truth that is a list."""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier

ORIGIN = "Breast cancer, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"prediction": "string"}


def load_data():
    data = load_breast_cancer(as_frame=True)
    return data.data, data.target.map({0: "malignant", 1: "benign"}).tolist()


def build():
    return HistGradientBoostingClassifier(max_iter=20, random_state=SEED)


def predict(model, frame):
    return model.predict(frame)
