"""XGBoost with classes as the numbers that it wants, and their names only in the answer."""

import numpy as np
from sklearn.datasets import load_iris
from xgboost import XGBClassifier

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

NEEDS = ["xgboost-cpu"]
OUTPUTS = {"code": "integer", "label": "string"}

NAMES = np.array(["setosa", "versicolor", "virginica"])


def load_data():
    data = load_iris(as_frame=True)
    return data.data, data.target


def build():
    return XGBClassifier(n_estimators=20, random_state=SEED)


def predict(model, frame):
    code = model.predict(frame)
    return {"code": code, "label": NAMES[code]}
