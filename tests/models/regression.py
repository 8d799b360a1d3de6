"""A regression: numbers in, a number out."""

from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

ORIGIN = "Diabetes, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["rmse <= 70"]

INPUTS = {"bmi": "number"}
OUTPUTS = {"value": "number"}


def load_data():
    data = load_diabetes(as_frame=True)
    return data.data, data.target


def build():
    return Ridge(alpha=0.1)


def predict(model, frame):
    return {"value": model.predict(frame)}
