# Appended to the service's model.py for the second model: the same data, another estimator.
from typing import Any

import pandas as pd


def build() -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    as_array = FunctionTransformer(pd.DataFrame.to_numpy)
    return make_pipeline(as_array, RandomForestClassifier(100, random_state=0, n_jobs=1))
