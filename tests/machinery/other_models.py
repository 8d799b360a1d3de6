"""Other models to put into the toy's place, and what comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import toy


def small(truth: Any = "numbers", rows: int = 60) -> tuple[Any, ...]:
    """Return data whose truth follows from the inputs."""
    frame = pd.DataFrame({"a": np.arange(rows, dtype=float), "b": np.arange(rows) % 7 * 1.0})
    numbers = (frame["a"] + frame["b"]).to_numpy()
    return frame, numbers if isinstance(truth, str) else truth(numbers)


def change(user: pytest.MonkeyPatch, **names: Any) -> None:
    """Put the names into the toy, with data of two numbers, a regression and no gates."""
    default = {
        "GATES": [],
        "IMPORTANCE_SECONDS": 0,
        "load_data": small,
        "build": LinearRegression,
        "predict": lambda model, frame: {"value": model.predict(frame)},
    }
    for name, value in {**default, **names}.items():
        user.setattr(toy, name, value, raising=False)


def card(folder: Path) -> str:
    [path] = folder.glob("card-*.html")
    return " ".join(path.read_text().split())


class Constant:
    """An estimator of no library, which counts how often it was fitted and keeps with what."""

    def __init__(self) -> None:
        self.fits: list[dict[str, Any]] = []

    def fit(self, frame: Any, truth: Any, sample_weight: Any = None, **others: Any) -> None:
        self.fits.append({"frame": frame, "weights": sample_weight, **others})
        self.mean_ = float(np.mean(truth))

    def predict(self, frame: Any) -> Any:
        return np.full(len(frame), self.mean_)


class Ranker(Constant):
    def fit(self, frame: Any, truth: Any, *, qid: Any) -> None:  # type: ignore[override]
        super().fit(frame, truth, qid=qid)


def fitted(model: Any) -> Any:
    frame, truth = small()
    model.fit(frame, -truth)
    return model


class Session:
    """Answers, and that is all that it can do."""

    def run(self, frame: pd.DataFrame) -> Any:
        return frame["a"].to_numpy()


class Picky(Constant):
    def fit(self, frame: Any, truth: Any, sample_weight: Any = None, **others: Any) -> None:
        np.asarray(truth, dtype=float)
