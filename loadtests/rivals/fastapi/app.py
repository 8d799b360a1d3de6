"""FastAPI as its tutorial writes it: pydantic in, pydantic out.

Its page on concurrency (fastapi.tiangolo.com/async) says `def`, not `async def`, for blocking work;
its page on response models says to declare the return type, so that pydantic's Rust core encodes.
"""

import os
from typing import Annotated

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field

Row = Annotated[list[float], Field(min_length=30, max_length=30)]


class Request(BaseModel):
    instances: list[Row]


class Prediction(BaseModel):
    label: str
    score: float


class Answer(BaseModel):
    predictions: list[Prediction]


app = FastAPI()
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict(request: Request) -> Answer:
    scores = model.predict_proba(np.array(request.instances))[:, 1].tolist()
    return Answer(
        predictions=[
            Prediction(label="malignant" if score >= 0.5 else "benign", score=score)
            for score in scores
        ]
    )
