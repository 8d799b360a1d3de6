"""The probability of every class, as an object."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"label": "string", "probability": "object of number"}


def load_data():
    data = load_iris(as_frame=True)
    return data.data, data.target.map(dict(enumerate(data.target_names)))


def build():
    return LogisticRegression(max_iter=1000)


def predict(model, frame):
    shares = model.predict_proba(frame)
    objects = [dict(zip(model.classes_, row, strict=True)) for row in shares]
    return {"label": model.classes_[shares.argmax(axis=1)], "probability": objects}
