# Appended to the service's model.py for the second model: the same data, another estimator.
from typing import Any


def build() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, random_state=0, n_jobs=1)
