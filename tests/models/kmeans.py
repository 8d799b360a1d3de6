"""Clusters: KMeans, without truth, judged by how apart they are."""

from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.metrics import silhouette_score

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["silhouette >= 0.4"]

OUTPUTS = {"cluster": "integer", "distance": "number"}


def load_data():
    return load_iris(as_frame=True).data


def build():
    return KMeans(3, n_init=2, random_state=SEED)


def predict(model, frame):
    return {"cluster": model.predict(frame), "distance": model.transform(frame).min(axis=1)}


def judge(truth, answers, frame):
    return {"silhouette": silhouette_score(frame, answers["cluster"])}
