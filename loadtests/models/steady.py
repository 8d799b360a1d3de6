# Appended to the service's model.py: the default estimator asked row by row, for soak. It costs the
# same for every row, so capacity does not depend on how many ask at a time.
from typing import Any

import numpy as np
import pandas as pd


def predict(model: Any, frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    malignant = list(model.classes_).index("malignant")
    rows = [model.predict_proba(frame.iloc[[i]])[0, malignant] for i in range(len(frame))]
    score = np.array(rows)
    return {"label": np.where(score >= 0.5, "malignant", "benign"), "score": score}
