# Appended to the service's model.py: a forest of some 250 MB, for memory. Noise makes trees large.
from typing import Any

import numpy as np
import pandas as pd

ROWS = 60_000
GATES: list[str] = []


def load_data() -> tuple[pd.DataFrame, pd.Series]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    random = np.random.default_rng(0)
    chosen = random.integers(len(data.data), size=ROWS)
    frame = data.data.iloc[chosen].reset_index(drop=True)
    truth = data.target.iloc[chosen].reset_index(drop=True).map({0: "malignant", 1: "benign"})
    label = truth.where(random.random(ROWS) > 0.6, random.permutation(truth))
    return frame * random.normal(1, 0.1, frame.shape), label


def build() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    # One feature a split: quick to fit, and deep.
    return RandomForestClassifier(150, max_features=1, random_state=0, n_jobs=-1)
