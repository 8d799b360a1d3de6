"""Null in the answer, where the model has nothing to say."""

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

INPUTS = {"income": "number or null"}
OUTPUTS = {"label": "string", "limit": "number or null", "reason": "string or null"}


def load_data():
    rng = np.random.default_rng(SEED)
    income = np.where(rng.random(200) < 0.2, np.nan, 10 * rng.integers(1, 9, 200))
    frame = pd.DataFrame({"income": income, "age": rng.uniform(18, 80, 200)})
    return frame, pd.Series(expected(frame)["label"])


def build():
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=0), DecisionTreeClassifier())


def predict(model, frame):
    known = frame["income"].notna()
    reason = np.where(known, None, "income is missing")
    return {"label": model.predict(frame), "limit": frame["income"] * 3, "reason": reason}


def expected(frame):
    incomes = frame["income"].tolist()
    return {
        "label": ["yes" if income > 40 else "no" for income in incomes],
        "limit": [None if income != income else 3 * income for income in incomes],
        "reason": ["income is missing" if income != income else None for income in incomes],
    }
