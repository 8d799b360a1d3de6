"""True, False and None in one object column: a gap is an answer of its own."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 1"]
IMPORTANCE_SECONDS = 0

INPUTS = {"consents": "boolean or null", "channel": "string or null"}
OUTPUTS = {"label": "string"}


def load_data():
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame(
        {
            "consents": rng.choice(np.array([True, False, None], dtype=object), 200),
            "channel": rng.choice(np.array(["web", "shop", None], dtype=object), 200),
        }
    ).astype(object)
    frame["age"] = rng.uniform(18, 80, 200)
    return frame, pd.Series(expected(frame)["label"])


def build():
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, ["consents"]), (encoder, ["channel"]))
    return make_pipeline(columns, DecisionTreeClassifier(random_state=SEED))


def predict(model, frame):
    return {"label": model.predict(frame)}


def expected(frame):
    words = {True: "yes", False: "no"}
    return {
        "label": [
            f"{'ask' if pd.isna(consents) else words[consents]} {'' if pd.isna(at) else at}".strip()
            for consents, at in zip(frame["consents"], frame["channel"], strict=True)
        ]
    }
