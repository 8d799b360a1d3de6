"""Whether inputs and answers still look as they did in training.

Of the answers, that is the classes and the numbers with fractions; of all else there is no count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from service.artifact import Manifest
from service.metrics import Metrics, tag
from service.record import Answer, Row

# Tags that come from a model are bounded; what is beyond shares the tag `other`.
MOST_CLASSES = 20
MOST_INPUTS = 50


class Drift:
    """Counts what the model is asked and answers, against the manifest's ranges and categories."""

    def __init__(self, manifest: Manifest, metrics: Metrics) -> None:
        self._metrics = metrics
        inputs = list(enumerate(manifest.inputs))
        self._numeric = [i for i, item in inputs if item.type in ("float", "int")]
        self._others = [i for i, item in inputs if item.type not in ("float", "int")]
        # Where there is no limit there is NaN, which no comparison is true of.
        self._low = np.array([manifest.inputs[i].minimum for i in self._numeric], np.float64)
        self._high = np.array([manifest.inputs[i].maximum for i in self._numeric], np.float64)
        self._categories = [
            (i, set(item.categories)) for i, item in inputs if item.categories is not None
        ]
        self._inputs = [
            tag("input", item.name if i < MOST_INPUTS else "other") for i, item in inputs
        ]
        outputs = manifest.outputs
        self._classes = {
            value: tag("class", value if number < MOST_CLASSES else "other")
            for number, value in enumerate(outputs.classes)
        }
        self._label = outputs.fields[0].name if outputs.kind == "classification" else None
        numbers = [field.name for field in outputs.fields if field.type == "float"]
        self._values = [(name, tag("field", name)) for name in numbers]

    def call(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Take note of a call of the model."""
        metrics = self._metrics
        metrics.count("model.rows", len(rows))
        if self._label is not None:
            for value, count in Counter(map(itemgetter(self._label), answers)).items():
                metrics.count("model.predictions", count, self._classes.get(value, "class:other"))
        for name, field in self._values:
            for answer in answers:
                if (value := answer[name]) is not None:
                    metrics.observe("model.value", value, field)
        if self._numeric:
            self._compare_numbers(rows)
        for position, known in self._categories:
            outside = sum(row[position] not in known and row[position] is not None for row in rows)
            self._count("model.out_of_range", position, outside)
        for position in self._others:
            self._count("model.nulls", position, sum(row[position] is None for row in rows))

    def _compare_numbers(self, rows: Sequence[Row]) -> None:
        numbers = [[r[i] for i in self._numeric] for r in rows] if self._others else rows
        values = np.array(numbers, dtype=np.float64)  # None becomes NaN, which is in no comparison
        outside = (values < self._low) | (values > self._high)
        for name, found in ("model.out_of_range", outside), ("model.nulls", np.isnan(values)):
            if found.any():
                for column in np.flatnonzero(found.any(axis=0)):
                    self._count(name, self._numeric[column], int(found[:, column].sum()))

    def _count(self, name: str, position: int, count: int) -> None:
        if count:
            self._metrics.count(name, count, self._inputs[position])
