"""The usual practice: Flask, one `predict` per request."""

import os
from typing import Any

import joblib
import numpy as np
from flask import Flask, abort, request

app = Flask(__name__)
model = joblib.load(os.environ["MODEL"])
# Of a model that was fitted to a data frame.
names = getattr(model, "feature_names_in_", None)
if names is not None:
    import pandas as pd


@app.post("/predict")
def predict() -> dict[str, Any]:
    try:
        rows = np.array(request.get_json()["instances"], dtype=float)
    except (KeyError, TypeError, ValueError):
        abort(400, "instances must be rows of numbers")
    if rows.ndim != 2 or rows.shape[1] != 30:
        abort(400, "a row has 30 numbers")
    asked = rows if names is None else pd.DataFrame(rows, columns=names)
    scores = model.predict_proba(asked)[:, 1].tolist()
    return {
        "predictions": [
            {"label": "malignant" if score >= 0.5 else "benign", "score": score} for score in scores
        ]
    }
