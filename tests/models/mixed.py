"""Every dtype that pandas' readers give, most with gaps; a name that is no Python identifier."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.6"]

INPUTS = {
    "plan": "string",
    "country": "string",
    "age": "integer",
    "active": "boolean",
    "income, k€": "number or null",
    "channel": "string or null",
    "visits": "integer or null",
    "newsletter": "boolean or null",
}
OUTPUTS = {"label": "string", "sure": "boolean"}


def load_data():
    rng = np.random.default_rng(0)
    n = 400

    def gaps():
        return rng.random(n) < 0.2

    frame = pd.DataFrame(
        {
            "plan": rng.choice(["free", "plus", "pro"], n),
            "country": pd.Categorical(rng.choice(["de", "fr", "it"], n)),
            "age": rng.integers(18, 80, n),
            "active": rng.random(n) < 0.5,
            "income, k€": np.where(gaps(), np.nan, rng.normal(50, 10, n)),
            "channel": pd.Series(rng.choice(["web", "shop"], n)).mask(gaps()),
            "visits": pd.Series(rng.integers(0, 9, n), dtype="Int64").mask(gaps()),
            "newsletter": pd.Series(rng.random(n) < 0.5, dtype="boolean").mask(gaps()),
        }
    )
    leaves = (frame["plan"] == "free") | (frame["age"] > 70)
    return frame, leaves.map({True: "leaves", False: "stays"})


def build():
    words = ["plan", "country", "channel", "newsletter"]
    numbers = ["age", "active", "income, k€", "visits"]
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), words),
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        ),
        LogisticRegression(max_iter=1000),
    )


def predict(model, frame):
    return {"label": model.predict(frame), "sure": model.predict_proba(frame).max(axis=1) > 0.9}
