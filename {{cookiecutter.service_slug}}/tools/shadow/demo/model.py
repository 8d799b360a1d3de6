"""The live model of the demo. Its candidates are copies of this file with a few lines appended.

Your own model.py has no part in it, so that the demo is the same in every service.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ORIGIN = "Breast Cancer Wisconsin (Diagnostic), as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.95", "roc_auc >= 0.98"]

# From this score on a tumour is called malignant.
THRESHOLD = 0.5


def load_data() -> tuple[pd.DataFrame, pd.Series[Any]]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    return data.data, data.target.map({0: "malignant", 1: "benign"})


def build() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=SEED))


def predict(model: Any, frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    score = model.predict_proba(frame)[:, list(model.classes_).index("malignant")]
    return {"label": np.where(score >= THRESHOLD, "malignant", "benign"), "score": score}
