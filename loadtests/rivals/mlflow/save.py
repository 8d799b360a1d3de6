"""Saves MODEL in MLflow's format, with the signature that MLflow validates by: save.py FOLDER."""

import os
import sys

import joblib
import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature

model = joblib.load(os.environ["MODEL"])
rows = np.zeros((2, 30))
mlflow.sklearn.save_model(
    model,
    sys.argv[1],
    signature=infer_signature(rows, model.predict_proba(rows)),
    pyfunc_predict_fn="predict_proba",
    # Its default format refuses trees.
    serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
)
