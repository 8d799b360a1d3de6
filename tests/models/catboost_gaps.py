"""CatBoost, which takes no gaps in categories: a step before it gives them a name."""

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

NEEDS = ["catboost"]
INPUTS = {"city": "string or null", "area": "number or null"}
OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    city = pd.Series(rng.choice(["berlin", "paris", "rome"], 600)).mask(rng.random(600) < 0.2)
    area = pd.Series(rng.uniform(20, 150, 600))
    dear = area + city.map({"berlin": 0, "paris": 90, "rome": 30}).fillna(60) > 120
    frame = pd.DataFrame({"city": city, "area": area.mask(rng.random(600) < 0.03)})
    return frame, dear.map({True: "dear", False: "cheap"})


def named(frame):
    return frame.assign(city=frame["city"].astype(object).fillna("unknown"))


def build():
    trees = CatBoostClassifier(
        iterations=60,
        cat_features=["city"],
        random_seed=SEED,
        verbose=False,
        allow_writing_files=False,
    )
    return make_pipeline(FunctionTransformer(named), trees)


def predict(model, frame):
    return {"label": model.predict(frame), "score": model.predict_proba(frame)[:, 1]}
