"""The model as the service sees it: verified, warmed up, then behind its batcher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd

from service import artifact
from service.artifact import Manifest, Output
from service.batching import Batcher, Observer
from service.errors import Refusal
from service.record import Answer, Row
from service.schema import Schema, rows_of
from service.settings import Settings

# The owner's, in model.py: (model, frame) -> a column for each field of the answer.
PredictFunction = Callable[[Any, pd.DataFrame], Mapping[str, Any]]

# Another machine's BLAS may round differently in the last places.
GOLDEN_TOLERANCE = 1e-6

_TYPES = {"f": "float", "i": "int", "u": "int", "b": "bool"}


class Engine:
    """Loads and verifies in the constructor (before the fork), runs from `start` (after it)."""

    batcher: Batcher

    def __init__(self, settings: Settings, predict: PredictFunction) -> None:
        """Raises Refusal if the artifact is not intact or was made by other versions."""
        self._settings = settings
        self.manifest: Manifest = artifact.read_manifest(settings.artifact_dir)
        self.card = artifact.read_card(settings.artifact_dir, self.manifest)
        model = artifact.load_model(settings.artifact_dir, self.manifest)
        self.schema = Schema(self.manifest.inputs, settings.max_instances)
        self.predict = Predictor(predict, model, self.schema, self.manifest.outputs.fields)
        self.ready = False

    def start(self, observer: Observer | None = None) -> None:
        """Warm the model up on the golden instances, in the thread that will serve, then be ready.

        Must run in the worker, after the fork: threads that a first predict starts (OpenMP's) do
        not survive one. Raises Refusal if an answer differs from the one given at training time.
        """
        self.batcher = Batcher(self.predict, self._settings, observer)
        golden = self.manifest.golden
        rows = rows_of(self.schema.inputs, golden.instances)
        try:
            answers = self.batcher.warm_up(rows)
        except Exception as error:
            raise Refusal(f"golden instances: {type(error).__name__}: {error}") from error
        for i, (answer, expected) in enumerate(zip(answers, golden.predictions, strict=True)):
            if not same_answer(answer, expected):
                raise Refusal(f"golden instance {i}: trained model gave {expected}, now {answer}")
        self.ready = True


@dataclass
class Predictor:
    """One vectorised call of the model: rows in, an answer for each out."""

    predict: PredictFunction
    model: Any
    schema: Schema
    fields: Sequence[Output] | None = None  # of an answer; None: to be learnt from the first

    def __call__(self, rows: Sequence[Row]) -> list[Answer]:
        """Raises what the model raises, and TypeError or RuntimeError for unusable answers."""
        # A forest with n_jobs=-1 would start threads for every call: more than the quota has
        # cores, and in gevent no threads at all.
        with joblib.parallel_config("sequential"):
            columns = self.predict(self.model, self.schema.frame(rows))
        arrays = {name: np.asarray(column) for name, column in columns.items()}
        for name, array in arrays.items():
            if array.shape != (len(rows),):
                raise RuntimeError(
                    f"predict returned shape {array.shape} for {name!r}, expected ({len(rows)},)"
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise RuntimeError(f"predict returned NaN or infinity for {name!r}")
        fields = [Output(name=n, type=_output_type(n, a)) for n, a in arrays.items()]
        if self.fields is None:
            self.fields = fields
        elif self.fields != fields:
            raise TypeError(f"predict returned {fields}, at training time {self.fields}")
        names = list(arrays)
        values = [array.tolist() for array in arrays.values()]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _output_type(name: str, array: np.ndarray[Any, Any]) -> Any:
    if kind := _TYPES.get(array.dtype.kind):
        return kind
    if all(type(value) is str for value in array.tolist()):
        return "string"
    raise TypeError(
        f"predict returned {array.dtype} for {name!r}: use numbers, booleans or strings"
    )


def same_answer(one: Answer, other: Answer) -> bool:
    """Tell whether two answers agree: numbers within tolerance, all else exactly."""
    return one.keys() == other.keys() and all(
        math.isclose(a, b, rel_tol=GOLDEN_TOLERANCE, abs_tol=GOLDEN_TOLERANCE)
        if isinstance(a, float) and isinstance(b, (float, int))
        else a == b
        for a, b in ((value, other[key]) for key, value in one.items())
    )
