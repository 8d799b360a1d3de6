"""Prints what a model file says of rows, with scikit-learn alone: score.py MODEL ROWS.

The answers that a server must give: each row's probability of being malignant.
"""

import json
import sys
from pathlib import Path

import joblib
import pandas as pd

model = joblib.load(sys.argv[1])
rows = pd.DataFrame(json.loads(Path(sys.argv[2]).read_text()))
scores = model.predict_proba(rows)[:, list(model.classes_).index("malignant")]
print(json.dumps(scores.tolist()))
