"""BentoML with adaptive batching, as its documentation advises for throughput
(docs.bentoml.com, "Adaptive batching"); the batch's limits are its defaults."""

import os
from typing import Annotated

import bentoml
import joblib
import numpy as np
from bentoml.validators import DType, Shape
from pydantic import BaseModel


class Prediction(BaseModel):
    label: str
    score: float


# "Configurations" page: access log and metrics are options of the service. Both cost time on every
# request, and nobody in this benchmark has telemetry on.
@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    monitoring={"enabled": False},
)
class Classifier:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, route="/predict")
    def predict(
        self, instances: Annotated[np.ndarray, DType("float64"), Shape((-1, 30))]
    ) -> list[Prediction]:
        scores = self.model.predict_proba(instances)[:, 1].tolist()
        return [
            Prediction(label="malignant" if score >= 0.5 else "benign", score=score)
            for score in scores
        ]
