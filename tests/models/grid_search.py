"""A search over parameters, with processes of its own, around a pipeline."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

OUTPUTS = {"kind": "integer"}


def load_data():
    data = load_iris(as_frame=True)
    return data.data, data.target


def build():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1, 10]}, n_jobs=2)


def predict(model, frame):
    return {"kind": model.predict(frame)}
