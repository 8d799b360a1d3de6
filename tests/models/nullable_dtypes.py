"""pandas' nullable dtypes and "string", all with gaps, and small numbers."""

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

INPUTS = {
    "visits": "integer or null",
    "income": "number or null",
    "plan": "string or null",
    "member": "boolean or null",
    "level": "integer",
}
OUTPUTS = {"value": "number"}

DTYPES = {
    "visits": "Int64",
    "income": "Float64",
    "plan": "string",
    "member": "boolean",
    "level": "int8",
}


def load_data():
    rng = np.random.default_rng(SEED)
    n = 200
    plain = {
        "visits": rng.integers(0, 9, n),
        "income": rng.normal(50, 10, n),
        "plan": rng.choice(["free", "pro"], n),
        "member": rng.random(n) < 0.5,
    }
    gaps = {name: rng.random(n) < 0.2 for name in plain}
    frame = pd.DataFrame(
        {name: pd.Series(v, dtype=DTYPES[name]).mask(gaps[name]) for name, v in plain.items()}
    )
    frame["level"] = rng.integers(-5, 5, n).astype("int8")
    return frame, pd.Series(expected(frame)["value"])


def features(frame):
    assert {name: frame[name].dtype for name in DTYPES} == DTYPES
    return np.column_stack(
        [
            frame["visits"].fillna(0).to_numpy("float64"),
            frame["income"].fillna(0).to_numpy("float64"),
            (frame["plan"] == "pro").fillna(False).to_numpy(bool),
            frame["member"].isna(),
            frame["member"].fillna(False).to_numpy(bool),
            frame["level"].to_numpy("float64"),
        ]
    )


def build():
    return make_pipeline(FunctionTransformer(features), LinearRegression())


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    def or_zero(value, factor):
        return 0 if value is pd.NA else factor * value

    return {
        "value": [
            or_zero(row.visits, 3)
            + or_zero(row.income, 1)
            + (10 if row.plan is not pd.NA and row.plan == "pro" else 0)
            + (7 if row.member is pd.NA else 20 * row.member)
            + row.level
            for row in frame.itertuples()
        ]
    }
