"""The one file you edit: where the data comes from, what learns from it, what the service answers.

`make train` calls these in order; the service calls `predict` alone. Nothing else needs an edit:
request checking, documentation and tests follow from the columns that `load_data` returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

# Said on the model card.
ORIGIN = "Breast Cancer Wisconsin (Diagnostic), as it comes with scikit-learn"

# The share of rows kept aside to judge the model, by a hash of the row: data may grow, and none
# changes sides. The seed is that of everything random.
TEST_SHARE = 0.25
SEED = 0

# For those who need them:
# POSITIVE = "malignant"   # its precision, recall and average_precision are metrics
# GROUP = "patient"        # rows with the same value are kept aside together; it is no input
# TIME = "date"            # the last rows are kept aside; it is no input
# IMPORTANCE_SECONDS = 0   # how long to measure what each input matters, if not 20; 0: not at all
# MARGIN = 0.01            # how much worse than the live model still counts as good

# The model ships only if it reaches these on the data kept aside (`make train` lists all metrics).
GATES = ["accuracy >= 0.95", "roc_auc >= 0.98"]


def load_data() -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Return the inputs (a row an example, a column an input) and the truth for each row.

    Or (frame, truth, weights), or `frame` alone if there is no truth; a DataFrame as the truth of
    several outputs. For your own data read a file or a table:
        frame = pd.read_csv("data/churn.csv")  # or pd.read_parquet(...)
        return frame.drop(columns="churned"), frame["churned"]
    Columns may be numbers, booleans, strings, categories or dates; gaps make an input nullable.
    Where making them takes long: return a raw frame, and define prepare(frame), which returns the
    above; its result is kept, and made again for other data or another prepare only.
    """
    # Imported here, as in `build`: training needs it, serving does not.
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    return data.data, data.target.map({0: "malignant", 1: "benign"})


def build() -> Any:
    """Return the estimator to fit: anything with scikit-learn's `fit` and `predict`.

    One that is fitted already, or has no `fit`, is left as it is: joblib.load("churn.joblib").
    A regression (`Ridge()`) needs no other change than gates such as "rmse <= 60" and a `predict`
    that returns {"value": model.predict(frame)}. Text columns want a ColumnTransformer in front:
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan", "country"]), ...)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    # An array for what follows, since all inputs are numbers. Of a frame, each step would check
    # names and types of columns, which takes twice as long as all the rest of a prediction.
    as_array = FunctionTransformer(pd.DataFrame.to_numpy)
    classifier = LogisticRegression(max_iter=1000, random_state=SEED)
    return make_pipeline(as_array, StandardScaler(), classifier)


def predict(model: Any, frame: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    """Answer every row of `frame` (the training columns, many requests' rows at once).

    Returns one array per field of the answer, each as long as the frame. The first field is the one
    that training compares with the truth. Raise ValueError for rows you cannot answer: the request
    they came in gets a 400 with your message, the others their answers.
    """
    score = model.predict_proba(frame)[:, list(model.classes_).index("malignant")]
    return {"label": np.where(score >= 0.5, "malignant", "benign"), "score": score}


# Metrics of your own, for gates and card: costs, rankings, clusters. `answers` is a DataFrame, a
# column per field; `truth` and `frame` are load_data's, of the same rows.
#
# def judge(truth: Any, answers: pd.DataFrame, frame: pd.DataFrame) -> dict[str, float]:
#     missed = (truth == "malignant") & (answers["label"] == "benign")
#     return {"cost": 100 * missed.mean()}
