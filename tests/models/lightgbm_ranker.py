"""A ranker: its rows come in groups, which `fit` must be told; judged by the order of each."""

import numpy as np
import pandas as pd
from lightgbm import LGBMRanker
from sklearn.metrics import ndcg_score

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GROUP = "query"
GATES = ["ndcg >= 0.8"]

NEEDS = ["lightgbm"]
INPUTS = {"price": "number", "match": "number"}
OUTPUTS = {"relevance": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    query = np.repeat(np.arange(80), 10)
    frame = pd.DataFrame(rng.uniform(size=(800, 2)), columns=["price", "match"])
    relevance = pd.cut(2 * frame["match"] - frame["price"], 4, labels=False)
    return frame.assign(query=query), relevance


def build():
    return LGBMRanker(n_estimators=50, random_state=SEED, verbose=-1)


def predict(model, frame):
    return {"relevance": model.predict(frame)}


def judge(truth, answers, frame):
    groups = frame.groupby("query").groups.values()
    found = [ndcg_score([truth[rows]], [answers["relevance"][rows]]) for rows in groups]
    return {"ndcg": np.mean(found)}
