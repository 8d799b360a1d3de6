"""statsmodels, by a formula: a class of one's own gives it `fit` and `predict`."""

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

ORIGIN = "made up"
TEST_SHARE = 0.25
SEED = 0
GATES = ["r2 >= 0.999"]
IMPORTANCE_SECONDS = 0

# What it keeps of the frame has pandas' strings, which pyarrow holds where it is installed.
NEEDS = ["statsmodels", "pyarrow"]
INPUTS = {"city": "string", "area": "number"}
OUTPUTS = {"rent": "number"}


def load_data():
    rng = np.random.default_rng(SEED)
    city = rng.choice(["berlin", "paris", "rome"], 300)
    frame = pd.DataFrame({"city": city, "area": rng.uniform(20, 150, 300)})
    return frame, pd.Series(expected(frame)["rent"])


class Rent:
    def fit(self, frame, truth):
        self.results = smf.ols("rent ~ area + C(city)", frame.assign(rent=truth)).fit()
        return self

    def predict(self, frame):
        return self.results.predict(frame)


def build():
    return Rent()


def predict(model, frame):
    return {"rent": model.predict(frame)}


def expected(frame):
    return {
        "rent": 10 * frame["area"] + frame["city"].map({"berlin": 0, "paris": 900, "rome": 300})
    }
