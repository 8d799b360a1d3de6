"""`make train`: fit the model of model.py, judge it, and package it for serving."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split

import model as user
from service.artifact import Manifest
from service.engine import Predictor
from service.schema import Schema
from service.settings import Settings
from training.errors import TrainingError
from training.evaluate import evaluate
from training.gates import Gate
from training.inputs import describe, plain_rows, served
from training.package import GOLDEN, Training, package

console = Console(highlight=False)


def main() -> None:
    try:
        train(Settings.from_env().artifact_dir)
    except TrainingError as error:
        console.print(f"[bold red]not trained:[/] {error}", soft_wrap=True)
        console.print("The artifact is as it was.")
        sys.exit(1)


def train(folder: Path) -> Manifest:
    """Train and write the artifact to `folder`; raises TrainingError and leaves it as it was."""
    gates = [Gate.parse(text) for text in user.GATES]
    random.seed(user.SEED)
    np.random.seed(user.SEED)  # for estimators that were given no random_state

    with stage("data") as say:
        frame, truth = _load()
        inputs = describe(frame)
        frame = served(inputs, frame)
        say(f"{len(frame)} rows, {len(inputs)} inputs")
    with stage("fit") as say:
        estimator = user.build()
        seen, held_out = _split(frame, truth, stratify=is_classifier(estimator))
        estimator.fit(frame.loc[seen], truth.loc[seen])
        say(f"{type(estimator).__name__} on {len(seen)} rows")
    with stage("evaluate") as say:
        schema = Schema(inputs, max_instances=len(held_out))
        predictor = Predictor(user.predict, estimator, schema)
        kept = frame.loc[held_out]
        answers = _answers(predictor, schema, kept)
        first = [next(iter(answer.values())) for answer in answers]
        evaluation = evaluate(estimator, kept, truth.loc[held_out], first, user.SEED)
        say(f"on {len(held_out)} rows kept aside")
    _judge(evaluation.metrics, gates)
    with stage("package") as say:
        manifest = package(
            folder,
            Training(
                origin=user.ORIGIN,
                seed=user.SEED,
                gates=user.GATES,
                frame=frame,
                truth=truth,
                inputs=inputs,
                estimator=estimator,
                predictor=predictor,
                answers=answers,
                evaluation=evaluation,
            ),
        )
        say(f"version {manifest.version}")
    console.print(f"    model     {folder / manifest.files['model'].path}")
    console.print(f"    card      {folder / manifest.files['card'].path}  (open it in a browser)")
    return manifest


@contextmanager
def stage(name: str) -> Iterator[Callable[[str], None]]:
    """Show a step with a running clock; the block is given a function that says what came of it."""
    columns = SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}")
    with Progress(TextColumn(" "), *columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(name, total=1)

        def say(result: str) -> None:
            progress.update(task, completed=1, description=f"{name:9} {result:44}")

        yield say


def _load() -> tuple[pd.DataFrame, pd.Series[Any]]:
    frame, truth = user.load_data()
    if len(frame) != len(truth) or len(frame) < 2 * GOLDEN:
        raise TrainingError(
            f"load_data: {len(frame)} rows of inputs and {len(truth)} of truth; they must be as "
            f"many, at least {2 * GOLDEN}"
        )
    if truth.isna().any():
        raise TrainingError(f"load_data: the truth is missing in {int(truth.isna().sum())} rows")
    # Rows are numbered anew, since the owner's labels may repeat.
    return frame.reset_index(drop=True), truth.reset_index(drop=True)


def _split(frame: pd.DataFrame, truth: pd.Series[Any], stratify: bool) -> tuple[Any, Any]:
    rare = truth.value_counts().min() < 2
    seen, held_out = train_test_split(
        frame.index,
        test_size=user.TEST_SHARE,
        random_state=user.SEED,
        stratify=truth if stratify and not rare else None,
    )
    return seen, held_out


def _answers(predictor: Predictor, schema: Schema, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the service would answer to the rows: it is that which is judged."""
    try:
        return predictor(plain_rows(schema.inputs, frame))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"predict: {error}") from error


def _judge(metrics: dict[str, float], gates: list[Gate]) -> None:
    for name, value in metrics.items():
        console.print(f"    {name:18} {value:.4g}")
    for gate in gates:
        if not gate.passes(metrics):
            raise TrainingError(f"gate {gate.text!r} failed: {metrics[gate.metric]:.4g}")
        console.print(f"  [green]✓[/] gate      {gate.text}")


if __name__ == "__main__":
    main()
