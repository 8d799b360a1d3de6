"""A column of free text, through TfidfVectorizer."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.9"]
IMPORTANCE_SECONDS = 0

INPUTS = {"message": "string", "length": "integer"}
OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    common = "the a my of please account order since invoice monday number".split()
    angry = rng.random(300) < 0.4
    messages = [
        " ".join([*rng.choice(common, 12), "refund" if bad else "thanks", f"ref{i}@example.org"])
        for i, bad in enumerate(angry)
    ]
    frame = pd.DataFrame({"message": messages, "length": [len(text) for text in messages]})
    return frame, pd.Series(np.where(angry, "complaint", "praise"))


def build():
    columns = make_column_transformer((TfidfVectorizer(), "message"), ("passthrough", ["length"]))
    return make_pipeline(columns, LogisticRegression(C=100, max_iter=5000))


def predict(model, frame):
    return {"label": model.predict(frame), "score": model.predict_proba(frame)[:, 0]}
