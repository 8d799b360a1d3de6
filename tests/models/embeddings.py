"""Embeddings: no truth, no `predict`, and a list of numbers for an answer."""

from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ORIGIN = "Wine, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = []

OUTPUTS = {"embedding": "array of number"}


def load_data():
    return load_wine(as_frame=True).data


def build():
    return make_pipeline(StandardScaler(), PCA(5, random_state=SEED))


def predict(model, frame):
    return {"embedding": model.transform(frame)}
