"""LightGBM, with categories and gaps as they are."""

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

NEEDS = ["lightgbm"]
INPUTS = {"city": "string or null", "area": "number or null"}
OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    city = pd.Series(rng.choice(["berlin", "paris", "rome"], 600))
    area = pd.Series(rng.uniform(20, 150, 600))
    dear = area + city.map({"berlin": 0, "paris": 90, "rome": 30}) > 120
    gaps = rng.random((2, 600)) < 0.03
    frame = pd.DataFrame(
        {"city": city.mask(gaps[0]).astype("category"), "area": area.mask(gaps[1])}
    )
    return frame, dear.map({True: "dear", False: "cheap"})


def build():
    return LGBMClassifier(n_estimators=60, random_state=SEED, verbose=-1)


def predict(model, frame):
    return {"label": model.predict(frame), "score": model.predict_proba(frame)[:, 1]}
