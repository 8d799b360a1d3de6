"""`predict` that returns a DataFrame."""

import pandas as pd
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"kind": "integer", "setosa": "number", "versicolor": "number", "virginica": "number"}


def load_data():
    data = load_iris(as_frame=True)
    return data.data, data.target


def build():
    return LogisticRegression(max_iter=1000)


def predict(model, frame):
    names = ["setosa", "versicolor", "virginica"]
    answers = pd.DataFrame(model.predict_proba(frame), columns=names, index=frame.index)
    answers.insert(0, "kind", model.predict(frame))
    return answers
