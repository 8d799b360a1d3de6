"""A model with every kind of input, for tests that must not depend on the owner's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 7
GATES = ["accuracy >= 0.6"]


def load_data() -> tuple[pd.DataFrame, pd.Series[Any]]:
    random = np.random.default_rng(SEED)
    rows = 200
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "monthly income": random.normal(3000, 800, rows),
            "plan": random.choice(["basic", "plus", "pro"], rows).astype(object),
            "member": random.random(rows) < 0.5,
            "region": pd.Categorical(random.choice(["north", "south"], rows)),
        }
    )
    frame.loc[frame.index % 10 == 0, ["monthly income", "plan"]] = np.nan
    noise = random.normal(0, 5, rows)
    return frame, pd.Series(np.where(frame["age"] + noise > 50, "stays", "leaves"))


def build() -> Any:
    prepare = make_column_transformer(
        (SimpleImputer(), ["age", "monthly income"]),
        (OneHotEncoder(handle_unknown="ignore"), ["plan", "region"]),
        ("passthrough", ["member"]),
    )
    return make_pipeline(prepare, LogisticRegression(max_iter=5000))


def predict(model: Any, frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    if (frame["age"] > 150).any():
        raise ValueError("nobody is that old")
    if (frame["age"] < 0).any():
        raise RuntimeError("secret internals")
    score = model.predict_proba(frame)[:, 1]
    return {"label": model.classes_[(score >= 0.5).astype(int)], "score": score}
