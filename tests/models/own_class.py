"""A class of one's own in model.py, and a CSV file in data/."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

ORIGIN = "data/houses.csv"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.9"]
IMPORTANCE_SECONDS = 0

INPUTS = {"rooms": "number or null", "garden": "string or null"}
OUTPUTS = {"price": "number"}

CSV = Path(__file__).parent / "data" / "houses.csv"


def make_files():
    rows = ["rooms,garden,price"]
    for i in range(200):
        rooms, garden = 1 + i % 7, ("yes", "no")[i % 2]
        price = 50_000 * rooms + (20_000 if garden == "yes" else 0) + i
        rows.append(f"{'' if i == 30 else rooms},{'' if i == 31 else garden},{price}")
    CSV.parent.mkdir(exist_ok=True)
    CSV.write_text("\n".join(rows) + "\n")


def load_data():
    frame = pd.read_csv(CSV)
    return frame.drop(columns="price"), frame["price"]


class Rooms(TransformerMixin, BaseEstimator):
    def fit(self, frame, truth=None):
        self.mean_ = frame["rooms"].mean()
        return self

    def transform(self, frame):
        garden = frame["garden"].map({"yes": 1.0, "no": 0.0}).fillna(0.5)
        return np.column_stack([frame["rooms"].fillna(self.mean_), garden])


def build():
    return make_pipeline(Rooms(), LinearRegression())


def predict(model, frame):
    return {"price": model.predict(frame)}
