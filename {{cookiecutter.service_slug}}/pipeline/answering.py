"""Run by live.py in a folder that has live's code and artifact: answers the rows in rows.pickle."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np

from pipeline.live import SAID_WHY, Answers
from service.artifact import load_model, read_manifest
from service.engine import Predictor
from service.errors import Refusal
from service.schema import Schema
from training.inputs import plain_rows, served


def main() -> None:
    with open("rows.pickle", "rb") as stream:
        frame = pickle.load(stream)
    manifest = read_manifest(Path("artifact"))
    model = load_model(Path("artifact"), manifest)
    from model import predict

    inputs = manifest.inputs
    frame = frame[[item.name for item in inputs]]
    predictor = Predictor(predict, model, Schema(inputs, len(frame)), manifest.outputs.fields)
    answers = predictor(plain_rows(inputs, frame))
    classes, probability = getattr(model, "classes_", None), None
    if hasattr(model, "predict_proba"):
        probability = np.asarray(model.predict_proba(served(inputs, frame)), dtype=np.float64)
    found = Answers(answers, None if classes is None else list(classes), probability)
    with open("answers.pickle", "wb") as stream:
        pickle.dump(found, stream, protocol=5)


if __name__ == "__main__":
    try:
        main()
    except Refusal as refused:
        print(refused)
        sys.exit(SAID_WHY)
