"""A model file and six example rows: judged on nothing, and served all the same."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

ORIGIN = "a colleague's file"
TEST_SHARE = 0.5
SEED = 0
GATES = []

OUTPUTS = {"label": "string"}

FILE = Path(__file__).parent / "trained.joblib"


def make_files():
    data = load_iris(as_frame=True)
    names = np.array(data.target_names)[data.target]
    joblib.dump(DecisionTreeClassifier(random_state=SEED).fit(data.data, names), FILE)


def load_data():
    examples = [(5.1, 3.5, 1.4, 0.2), (6.0, 2.9, 4.5, 1.5), (6.3, 3.3, 6.0, 2.5)] * 2
    names = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    return pd.DataFrame(examples, columns=names)


def build():
    return joblib.load(FILE)


def predict(model, frame):
    return {"label": model.predict(frame)}


def expected(frame):
    return {"label": ["setosa", "versicolor", "virginica"] * 2}
