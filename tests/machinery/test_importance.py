"""The inputs that matter are found, within the time that there is; bins hold every number."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training import bins
from training.data import Data
from training.evaluate import evaluate
from training.importance import importance


def answers(values: Any) -> list[dict[str, Any]]:
    return [{"value": value} for value in np.asarray(values).tolist()]


def wide(columns: int, rows: int = 400) -> tuple[pd.DataFrame, pd.Series[Any]]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        rng.normal(size=(rows, columns)), columns=[f"c{i}" for i in range(columns)]
    )
    return frame, 3 * frame[f"c{columns - 1}"] + frame["c0"] - 2 * frame[f"c{columns // 2}"]


class Weighted:
    """Knows which columns count, and counts how often it was asked."""

    asked = 0

    def predict(self, frame: pd.DataFrame) -> Any:
        self.asked += 1
        last, middle = frame.columns[-1], frame.columns[len(frame.columns) // 2]
        return (3 * frame[last] + frame["c0"] - 2 * frame[middle]).to_numpy()


def ask(model: Any, frame: pd.DataFrame) -> dict[str, Any]:
    answer = model.predict(frame)
    frame["answer"] = answer  # as owners do
    return {"value": answer}


@pytest.mark.parametrize("columns", [5, 300, 2000])
def test_importance_finds_the_inputs_that_matter_among_many(columns: int) -> None:
    frame, truth = wide(columns)
    model = Weighted()
    said: list[str] = []
    judged = evaluate(model, Data(frame, truth), answers(truth))
    found = importance(ask, model, judged, 20, 0, said.append)
    assert [item.name for item in found[:3]] == [f"c{columns - 1}", f"c{columns // 2}", "c0"]
    assert found[0].mean > found[1].mean > found[2].mean > 0
    assert found[3].mean == 0 if len(found) > 3 else True
    assert len(found) == min(columns, 50) and said[-1].startswith(f"{len(found) - 1} of ")
    assert model.asked < 1000


def test_importance_keeps_to_its_budget() -> None:
    class Slow(Weighted):
        def predict(self, frame: pd.DataFrame) -> Any:
            time.sleep(0.05)
            return super().predict(frame)

    frame, truth = wide(200)
    judged = evaluate(Slow(), Data(frame, truth), answers(truth))
    start = time.monotonic()
    found = importance(ask, Slow(), judged, 1, 0, lambda _: None)
    assert time.monotonic() - start < 3
    assert len(found) < 200


def test_importance_passes_over_inputs_whose_shuffled_rows_predict_refuses() -> None:
    frame, truth = wide(5)

    def careful(model: Any, rows: pd.DataFrame) -> dict[str, Any]:
        if (rows["c1"].to_numpy() != frame["c1"].loc[rows.index].to_numpy()).any():
            raise ValueError("c1 does not go with the rest")
        return ask(model, rows)

    judged = evaluate(Weighted(), Data(frame, truth), answers(truth))
    found = importance(careful, Weighted(), judged, 20, 0, lambda _: None)
    assert {item.name for item in found} == {"c0", "c2", "c3", "c4"}


@pytest.mark.parametrize(
    "values",
    [
        [0.3, 0.1 + 0.2],
        [1e17, 1e17 + 16, 1e17 + 32],
        [3.0] * 5,
        [0.0] * 5,
        [-1.7e308, 1.7e308],
        [1.7976931348623157e308] * 2,
        [5e-324, 0.0],
        list(range(100)),
    ],
)
def test_bins_hold_every_number(values: list[float]) -> None:
    counts, edges = bins.count(np.array(values, dtype=float), 20)
    assert counts.sum() == len(values) and len(edges) == 21
    assert (np.diff(edges) > 0).all() and np.isfinite(edges).all()
