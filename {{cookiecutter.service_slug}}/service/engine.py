"""The model as the service sees it: verified, warmed up, then behind its batcher."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import joblib
import numpy as np
import pandas as pd

from service import artifact
from service.answers import Learner, Reader, columns
from service.artifact import Manifest, Output
from service.batching import Batcher
from service.errors import Refusal
from service.observer import Observer
from service.record import Answer, Row
from service.schema import Schema, rows_of
from service.settings import Settings

# The owner's, in model.py: (model, frame) -> columns, in one of the forms that answers.py reads.
PredictFunction = Callable[[Any, pd.DataFrame], Any]

# joblib's backend. A forest with n_jobs=-1 would start threads for every call: more than the quota
# has cores, and in gevent no threads at all.
SEQUENTIAL = "sequential"

# Another machine's BLAS may round differently in the last places.
GOLDEN_TOLERANCE = 1e-6


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
        self.batcher = Batcher(self.predict.answer, self._settings, observer)
        golden = self.manifest.golden
        rows = rows_of(self.schema.inputs, golden.instances)
        try:
            answers = self.batcher.warm_up(rows, _settings_of_this_thread())
        except Exception as error:
            raise Refusal(f"golden instances: {type(error).__name__}: {error}") from error
        for i, (answer, expected) in enumerate(zip(answers, golden.predictions, strict=True)):
            if (name := differing_field(answer, expected)) is not None:
                trained, now = (f"{name} {side.get(name)!r:.100}" for side in (expected, answer))
                raise Refusal(f"golden instance {i}: trained model gave {trained}, now {now}")
        self.ready = True


class Predictor:
    """One vectorised call of the model: rows in, an answer for each out."""

    def __init__(
        self,
        predict: PredictFunction,
        model: Any,
        schema: Schema,
        fields: Sequence[Output] | None = None,
    ) -> None:
        """`fields`: of an answer, as training settled them; None: each call has a say in them."""
        self.fields = fields or ()
        self._predict = predict
        self._model = model
        self._schema = schema
        self._learners: dict[str, Learner] | None = {} if fields is None else None
        self._readers = {field.name: Reader(field) for field in self.fields}

    def __call__(self, rows: Sequence[Row]) -> list[Answer]:
        """Raises what the model raises, and TypeError or RuntimeError for unusable answers."""
        with joblib.parallel_config(SEQUENTIAL):
            return self.answer(rows)

    def answer(self, rows: Sequence[Row]) -> list[Answer]:
        """Do the same, in a thread whose joblib is sequential already."""
        process = os.getpid()
        try:
            returned = self._predict(self._model, self._schema.frame(rows))
        finally:
            if os.getpid() != process:
                os._exit(1)  # forked by predict and not ended: it would answer for its parent
        found = columns(returned, len(rows))
        if self._learners is not None:
            self._learn(self._learners, found)
        readers = self._readers
        if found.keys() != readers.keys():
            raise TypeError(
                f"predict returned the fields {[*found]}, at training time {[*readers]}"
            )
        values = [read(found[name]) for name, read in readers.items()]
        return [dict(zip(readers, row, strict=True)) for row in zip(*values, strict=True)]

    def _learn(self, learners: dict[str, Learner], found: Mapping[str, Any]) -> None:
        if not learners:
            learners.update({name: Learner(name) for name in found})
        if found.keys() == learners.keys():
            self.fields = [item.learn(found[name]) for name, item in learners.items()]
            self._readers = {field.name: Reader(field) for field in self.fields}


def _settings_of_this_thread() -> Callable[[], None]:
    """Return what makes them the model thread's: libraries keep some for each, set in model.py."""
    errors = np.geterr()
    sklearn = sys.modules.get("sklearn")
    config = sklearn.get_config() if sklearn else {}

    def adopt() -> None:
        joblib.parallel_config(SEQUENTIAL)  # for good: for each call it would cost 6 us
        np.seterr(**errors)
        if sklearn:
            sklearn.set_config(**config)

    return adopt


def differing_field(one: Answer, other: Answer) -> str | None:
    """Return the first field in which two answers differ, None if they agree.

    Numbers may differ within the tolerance, all else must be equal.
    """
    for name in one | other:
        if name not in one or name not in other or not _same(one[name], other[name]):
            return name
    return None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=GOLDEN_TOLERANCE, abs_tol=GOLDEN_TOLERANCE)
    return bool(one == other)
