"""`make train`: fit the model of model.py, judge it, and package it for serving."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.artifact import Manifest
from service.engine import Predictor
from service.record import Answer
from service.schema import Schema
from service.settings import Settings
from training.data import Data, load
from training.errors import TrainingError, owners
from training.evaluate import Evaluation, evaluate
from training.fit import build, fit, is_fitted
from training.gates import NO_TRUTH
from training.importance import INPUTS, importance
from training.inputs import describe, plain_rows, served
from training.kinds import strata
from training.owner import Options, read
from training.package import Training, package
from training.requirements import not_fixed
from training.split import held_out, one_sided

# With fewer rows, nothing is learnt, and nothing judged.
MIN_ROWS = 16

console = Console(highlight=False)

# The module model.py, which `main` imports.
user: Any = None


def main() -> None:
    global user
    try:
        with owners("model.py"):
            user = import_module("model")
        train(Settings.from_env().artifact_dir)
    except TrainingError as error:
        console.print(f"[bold red]not trained:[/] {escape(str(error))}", soft_wrap=True)
        console.print(error.trace, end="", markup=False, soft_wrap=True)
        console.print("The artifact is as it was.")
        sys.exit(1)


def train(folder: Path) -> Manifest:
    """Train and write the artifact to `folder`; raises TrainingError and leaves it as it was."""
    options = read(user)
    for line in not_fixed():
        console.print(f"  [yellow]![/] {escape(line)}", soft_wrap=True)
    random.seed(options.seed)
    np.random.seed(options.seed)  # for estimators that were given no random_state

    with stage("data") as say:
        data = load(user, options)
        inputs = describe(data.frame)
        data = replace(data, frame=served(inputs, data.frame))
        say(f"{len(data.frame)} rows, {len(inputs)} inputs")
    if options.gates and data.truth is None and options.judge is None:
        raise TrainingError(f"GATES: load_data gives no truth to judge by; {NO_TRUTH}")
    estimator, kept, notes = _fit(data, options)
    with stage("evaluate") as say:
        schema = Schema(inputs, max_instances=len(kept.frame))
        predictor = Predictor(user.predict, estimator, schema)
        answers = _answers(predictor, schema, kept)
        evaluation = evaluate(
            estimator,
            kept,
            answers,
            truth=data.truth,
            positive=options.positive,
            judge=options.judge,
        )
        aside = " kept aside" if len(kept.frame) < len(data.frame) else ""
        judged = f"{len(kept.frame)} rows{aside}" if evaluation.metrics else "nothing"
        say(f"on {judged}")
    evaluation = replace(evaluation, notes=notes + evaluation.notes)
    _report(evaluation, options)
    evaluation = _with_importance(estimator, evaluation, options)
    with stage("package") as say:
        manifest = package(
            folder,
            Training(
                origin=user.ORIGIN,
                seed=options.seed,
                gates=[gate.text for gate in options.gates],
                frame=data.frame,
                truth=data.truth,
                weights=data.weights,
                inputs=inputs,
                estimator=estimator,
                predictor=predictor,
                answers=answers,
                evaluation=evaluation,
            ),
        )
        say(f"version {manifest.version}")
    console.print(f"    model      {folder / manifest.files['model'].path}")
    console.print(f"    card       {folder / manifest.files['card'].path}  (open it in a browser)")
    return manifest


class Say(Protocol):
    """Shows what came of a stage, or with `done=False` how far it is."""

    def __call__(self, result: str, done: bool = True) -> None: ...


@contextmanager
def stage(name: str) -> Iterator[Say]:
    """Show a step with a running clock; the block is given a function that says what came of it."""
    columns = SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}")
    with Progress(TextColumn(" "), *columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(name, total=1)

        def say(result: str, done: bool = True) -> None:
            text = f"{name:10} {escape(result):44}"
            progress.update(task, completed=int(done), description=text)

        yield say


def _fit(data: Data, options: Options) -> tuple[Any, Data, list[str]]:
    """Return the estimator, fitted, the rows that it has not learnt from, and lines about both."""
    with stage("fit") as say:
        estimator = build(user)
        name = type(estimator).__name__
        if is_fitted(estimator):
            say(f"{name} came fitted, and is left as it is")
            return estimator, data, []
        if len(data.frame) < MIN_ROWS:
            raise TrainingError(
                f"load_data: {len(data.frame)} rows; to learn and to judge takes {MIN_ROWS}"
            )
        classes = strata(estimator, data.truth, options.positive)
        held = held_out(data, options.test_share, classes)
        notes = [] if classes is None else one_sided(classes, held)
        notes += fit(estimator, data.take(~held))
        say(f"{name} on {int(np.sum(~held))} rows")
    return estimator, data.take(held), notes


def _answers(predictor: Predictor, schema: Schema, kept: Data) -> list[Answer]:
    """Return what the service would answer to the rows: it is that which is judged."""
    with owners("predict"):
        answers = predictor(plain_rows(schema.inputs, kept.frame))
    if len(answers) != len(kept.frame):
        raise TrainingError("predict: returned no fields, expected at least one")
    return answers


def _report(evaluation: Evaluation, options: Options) -> None:
    """Show the metrics; raises TrainingError if a gate fails."""
    for name, value in evaluation.metrics.items():
        console.print(f"    {name:18} {value:.4g}")
    for note in evaluation.notes:
        console.print(f"  [yellow]![/] {escape(note)}", soft_wrap=True)
    for gate in options.gates:
        if not gate.passes(evaluation.metrics):
            reached = evaluation.metrics[gate.metric]
            raise TrainingError(f"gate {gate.text!r} failed: {reached:.4g}")
        console.print(f"  [green]✓[/] gate       {gate.text}")


def _with_importance(estimator: Any, evaluation: Evaluation, options: Options) -> Evaluation:
    seconds, inputs = options.importance_seconds, evaluation.frame.shape[1]
    if evaluation.kind == "other" or not seconds:
        return evaluation
    with stage("importance") as say, owners("predict"):
        found = importance(
            user.predict,
            estimator,
            evaluation,
            seconds,
            options.seed,
            lambda text: say(text, done=False),
        )
        say(f"of {len(found)} of {inputs} inputs")
    notes = evaluation.notes
    if len(found) < min(inputs, INPUTS):
        notes = [*notes, f"{seconds:g} s of IMPORTANCE_SECONDS sufficed for {len(found)} inputs"]
    return replace(evaluation, importance=found, notes=notes)


if __name__ == "__main__":
    main()
