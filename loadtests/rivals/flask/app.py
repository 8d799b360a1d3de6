"""The usual practice: Flask, one `predict` per request."""

import os
from typing import Any

import joblib
import numpy as np
from flask import Flask, abort, request

app = Flask(__name__)
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict() -> dict[str, Any]:
    try:
        rows = np.array(request.get_json()["instances"], dtype=float)
    except (KeyError, TypeError, ValueError):
        abort(400, "instances must be rows of numbers")
    if rows.ndim != 2 or rows.shape[1] != 30:
        abort(400, "a row has 30 numbers")
    scores = model.predict_proba(rows)[:, 1].tolist()
    return {
        "predictions": [
            {"label": "malignant" if score >= 0.5 else "benign", "score": score} for score in scores
        ]
    }
