"""Trains both models for the rivals, and keeps rows aside to ask about: train.py FOLDER."""

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = Path(sys.argv[1])
data = load_breast_cancer()
labels = np.where(data.target == 0, "malignant", "benign")
train, held_out, answers, _ = train_test_split(
    data.data, labels, test_size=0.25, random_state=0, stratify=labels
)
models = {
    "lr": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "rf": RandomForestClassifier(100, random_state=0, n_jobs=1),
}
for name, model in models.items():
    joblib.dump(model.fit(train, answers), folder / f"{name}.joblib")
    frame = pd.DataFrame(train, columns=data.feature_names)
    joblib.dump(model.fit(frame, answers), folder / f"{name}-frame.joblib")
(folder / "rows.json").write_text(json.dumps(held_out.tolist()))
