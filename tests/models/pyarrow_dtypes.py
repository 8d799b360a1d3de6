"""Columns that pyarrow holds, as `dtype_backend="pyarrow"` gives them, all with gaps.

The model gets them in pandas' own dtypes, so serving needs no pyarrow.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

NEEDS = ["pyarrow"]
INPUTS = {
    "visits": "integer or null",
    "income": "number or null",
    "plan": "string or null",
    "member": "boolean or null",
    "since": "date-time or null",
    "size": "string or null",
}
OUTPUTS = {"value": "number"}

SIZES = ["small", "medium", "large"]
DTYPES = {
    "visits": pd.ArrowDtype(pa.int64()),
    "income": pd.ArrowDtype(pa.float64()),
    "plan": pd.ArrowDtype(pa.string()),  # not what pandas makes of the name "string[pyarrow]"
    "member": pd.ArrowDtype(pa.bool_()),
    "since": pd.ArrowDtype(pa.timestamp("us")),
    "size": pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string(), ordered=True)),
}


def load_data():
    rng = np.random.default_rng(SEED)
    n = 200
    plain = {
        "visits": rng.integers(0, 9, n),
        "income": rng.normal(50, 10, n),
        "plan": rng.choice(["free", "pro"], n),
        "member": rng.random(n) < 0.5,
        "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, n), "D"),
    }
    frame = pd.DataFrame(
        {
            name: pd.Series(values).mask(rng.random(n) < 0.2).convert_dtypes().astype(DTYPES[name])
            for name, values in plain.items()
        }
    )
    codes = pa.array(rng.integers(0, 3, n), pa.int8(), mask=rng.random(n) < 0.2)
    sizes = pa.DictionaryArray.from_arrays(codes, SIZES, ordered=True)
    frame["size"] = pd.Series(sizes, dtype=DTYPES["size"])
    return frame, pd.Series(expected(frame)["value"])


def features(frame):
    assert not any(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert frame["size"].cat.ordered and frame["size"].cat.categories.tolist() == SIZES
    return np.column_stack(
        [
            frame["visits"].to_numpy("float64", na_value=0),
            frame["income"].to_numpy("float64", na_value=0),
            (frame["plan"] == "pro").fillna(False).to_numpy(bool),
            frame["member"].isna(),
            frame["member"].fillna(False).to_numpy(bool),
            frame["since"].dt.month.fillna(0).to_numpy("float64"),
            frame["size"].cat.codes,
        ]
    )


def build():
    return make_pipeline(FunctionTransformer(features), LinearRegression())


def predict(model, frame):
    return {"value": model.predict(frame)}


def expected(frame):
    gap = {name: frame[name].isna().to_numpy(bool) for name in frame}
    rows = zip(*(frame[name].tolist() for name in DTYPES), strict=True)
    return {
        "value": [
            (0 if gap["visits"][i] else 3 * visits)
            + (0 if gap["income"][i] else income)
            + (0 if gap["plan"][i] else 10 * (plan == "pro"))
            + (7 if gap["member"][i] else 20 * member)
            + (0 if gap["since"][i] else since.month)
            + (-5 if gap["size"][i] else 5 * SIZES.index(size))
            for i, (visits, income, plan, member, since, size) in enumerate(rows)
        ]
    }
