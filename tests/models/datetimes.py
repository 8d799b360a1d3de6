"""Dates and times, with and without a zone, one with gaps."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

INPUTS = {"ordered": "date-time", "paid": "date-time or null", "seen": "date-time"}
OUTPUTS = {"cost": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    n = 200
    ordered = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, n), "D")
    paid = pd.Series(ordered + pd.to_timedelta(rng.integers(1, 500, n), "h"))
    seen = (ordered + pd.to_timedelta(rng.integers(0, 24, n), "h")).tz_localize("UTC")
    frame = pd.DataFrame({"ordered": ordered, "paid": paid.mask(rng.random(n) < 0.2), "seen": seen})
    return frame, pd.Series(cost(frame))


def cost(frame):
    """Two a day until it is paid, five if it never was; one an hour of the day; a weekend's ten."""
    paid = zip(frame["ordered"], frame["paid"], strict=True)
    days = [(end - start).total_seconds() / 86400 for start, end in paid]
    late = np.array([5 if d != d else 2 * d for d in days])
    hours = np.array([moment.hour for moment in frame["seen"]])
    weekend = np.array([moment.weekday() >= 5 for moment in frame["ordered"]])
    return late + hours + 10 * weekend


def features(frame):
    days = (frame["paid"] - frame["ordered"]).dt.total_seconds() / 86400
    weekend = frame["ordered"].dt.weekday >= 5
    hour = frame["seen"].dt.hour
    return np.column_stack([days.fillna(0), days.isna(), hour, weekend])


def build():
    return make_pipeline(FunctionTransformer(features), LinearRegression())


def predict(model, frame):
    return {"cost": model.predict(frame)}


def expected(frame):
    return {"cost": cost(frame)}
