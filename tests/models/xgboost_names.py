"""XGBoost, which learns numbers only, with classes that are words: an encoder is inside."""

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.preprocessing import LabelEncoder
from xgboost import XGBClassifier

ORIGIN = "Iris, as it comes with scikit-learn"
TEST_SHARE = 0.25
SEED = 0
GATES = ["accuracy >= 0.8"]
IMPORTANCE_SECONDS = 0

NEEDS = ["xgboost-cpu"]
OUTPUTS = {"label": "string", "score": "number"}


def load_data():
    data = load_iris(as_frame=True)
    return data.data, data.target.map(dict(enumerate(data.target_names)))


class Named(ClassifierMixin, BaseEstimator):
    def fit(self, frame, truth):
        self.encoder_ = LabelEncoder().fit(truth)
        self.classes_ = self.encoder_.classes_
        self.model_ = XGBClassifier(n_estimators=20, random_state=SEED)
        self.model_.fit(frame, self.encoder_.transform(truth))
        return self

    def predict(self, frame):
        return self.encoder_.inverse_transform(self.model_.predict(frame))

    def predict_proba(self, frame):
        return self.model_.predict_proba(frame)


def build():
    return Named()


def predict(model, frame):
    return {"label": model.predict(frame), "score": model.predict_proba(frame).max(axis=1)}
