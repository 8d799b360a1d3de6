"""What a model answers without the service: run in a service's folder once it is trained.

Prints JSON: rows of load_data as a client would send them, and the right answer to each.
"""

import json
import os
import sys
from datetime import datetime
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

sys.path.insert(0, os.getcwd())
import model  # noqa: E402

ROWS, CELLS = 20, 20_000  # at most; a request's body has its limit


def main():
    data = model.load_data()
    frame = data[0] if isinstance(data, tuple) else data
    count = min(ROWS, CELLS // len(frame.columns))
    frame = frame.iloc[:: -(-len(frame) // count)]
    no_inputs = [getattr(model, name) for name in ("GROUP", "TIME") if hasattr(model, name)]
    inputs = frame.drop(columns=no_inputs)
    if hasattr(model, "expected"):
        answers = model.expected(frame)
    else:
        [path] = Path("artifact").glob("model-*.joblib")
        answers = model.predict(joblib.load(path), inputs)
    if isinstance(answers, (pd.Series, np.ndarray)):
        answers = {"prediction": answers}
    print(json.dumps([rows(inputs), rows(answers)]))


def rows(columns):
    """Return a dict per row of a frame or of a dict of columns."""
    plain_columns = {str(name): map(plain, columns[name]) for name in columns}
    return [
        dict(zip(plain_columns, row, strict=True))
        for row in zip(*plain_columns.values(), strict=True)
    ]


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [plain(item) for item in value]
    if pd.isna(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


main()
