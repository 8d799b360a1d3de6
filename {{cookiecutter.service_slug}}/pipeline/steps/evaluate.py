"""What the model answers to the rows that were kept aside, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipeline.progress import Say
from pipeline.step import Step
from pipeline.steps.data import table
from pipeline.steps.fit import Fit
from service.artifact import Output
from service.engine import Predictor
from service.record import Answer
from service.schema import Schema
from training.errors import TrainingError, owners
from training.evaluate import Evaluation, evaluate
from training.importance import INPUTS, importance
from training.inputs import plain_rows


@dataclass(frozen=True)
class Judged:
    """The answers to the held-out rows, their fields, and how good they are.

    The evaluation's frame is left out: it is those rows of the data.
    """

    answers: list[Answer]
    fields: list[Output]
    evaluation: Evaluation

    def over(self, frame: pd.DataFrame) -> Evaluation:
        return replace(self.evaluation, frame=frame)


class Evaluate(Step):
    name = "evaluate"
    calls = ("predict", "judge")

    def requires(self) -> list[Step]:
        return [table(self), Fit(data=self.data)]

    def parameters(self) -> Any:
        return [self.context.options.positive, self.context.options.importance_seconds]

    def make(self, say: Say, *inputs: Any) -> Judged:
        now, fitted = inputs
        user, options = self.context.user, self.context.options
        kept = now.data.take(fitted.held)
        schema = Schema(now.inputs, max_instances=len(kept.frame))
        predictor = Predictor(user.predict, fitted.estimator, schema)
        with owners("predict"):
            answers = predictor(plain_rows(schema.inputs, kept.frame))
        if len(answers) != len(kept.frame):
            raise TrainingError("predict: returned no fields, expected at least one")
        found = evaluate(
            fitted.estimator,
            kept,
            answers,
            truth=now.data.truth,
            positive=options.positive,
            judge=options.judge,
        )
        aside = " kept aside" if not fitted.held.all() else ""
        say(f"on {len(kept.frame)} rows{aside}" if found.metrics else "on nothing")
        found = replace(found, notes=fitted.notes + found.notes)
        found = self._with_importance(fitted.estimator, found, say)
        return Judged(answers, [*predictor.fields], replace(found, frame=kept.frame.head(0)))

    def _with_importance(self, estimator: Any, found: Evaluation, say: Say) -> Evaluation:
        options, columns = self.context.options, found.frame.shape[1]
        if found.kind == "other" or not options.importance_seconds:
            return found
        with owners("predict"):
            measured = importance(
                self.context.user.predict,
                estimator,
                found,
                options.importance_seconds,
                options.seed,
                lambda text: say(f"importance of inputs: {text}", done=False),
            )
        say(f"on {len(found.truth)} rows; importance of {len(measured)} of {columns} inputs")
        notes = found.notes
        if len(measured) < min(columns, INPUTS):
            seconds = options.importance_seconds
            notes = [
                *notes,
                f"{seconds:g} s of IMPORTANCE_SECONDS sufficed for {len(measured)} inputs",
            ]
        return replace(found, importance=measured, notes=notes)
