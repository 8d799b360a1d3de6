"""`make train`: fit the model of model.py, judge it, and package it for serving."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split

import model as user
from service import artifact
from service.artifact import Baseline, Data, Golden, Manifest, Outputs, Source
from service.engine import Predictor
from service.schema import Row, Schema
from service.settings import Settings
from training.card import Facts, render_card
from training.errors import TrainingError
from training.evaluate import Evaluation, Gate, evaluate
from training.inputs import describe, histogram

ROOT = Path(__file__).parent.parent
GOLDEN = 8

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
        say(f"{len(frame)} rows, {len(inputs)} inputs")
    with stage("fit") as say:
        estimator = user.build()
        seen, held_out = _split(frame, truth, stratify=is_classifier(estimator))
        estimator.fit(frame.loc[seen], truth.loc[seen])
        say(f"{type(estimator).__name__} on {len(seen)} rows")
    with stage("evaluate") as say:
        schema = Schema(inputs, max_instances=len(held_out))
        predictor = Predictor(user.predict, estimator, schema)
        kept, target = frame.loc[held_out], truth.loc[held_out]
        answers = _answers(predictor, schema, kept)
        assert predictor.fields is not None  # learnt from the answers
        headline = [answer[predictor.fields[0].name] for answer in answers]
        evaluation = evaluate(estimator, kept, target, headline, user.SEED)
        say(f"on {len(held_out)} rows kept aside")
    _print_metrics(evaluation)
    for gate in gates:
        if not gate.passes(evaluation.metrics):
            raise TrainingError(f"gate {gate.text!r} failed: {evaluation.metrics[gate.metric]:.4g}")
        console.print(f"  [green]✓[/] gate      {gate.text}")

    with stage("package") as say:
        golden = _golden(predictor, schema, kept)
        baseline = Baseline(
            inputs={name: histogram(frame[name]) for name in frame.columns},
            outputs={
                field.name: histogram(pd.Series([answer[field.name] for answer in answers]))
                for field in predictor.fields
            },
        )
        outputs = Outputs(
            kind=evaluation.kind, classes=evaluation.classes, fields=list(predictor.fields)
        )
        data = Data(origin=user.ORIGIN, rows=len(frame), sha256=_data_hash(frame, truth))
        source = _source()
        runtime = artifact.runtime_versions()
        version = _version(
            inputs, outputs, data, source.sha256, user.SEED, runtime, evaluation.metrics, golden
        )
        facts = Facts(
            name=tomllib.loads((ROOT / "service.toml").read_text())["name"],
            version=version,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            source=source,
            data=data,
            seed=user.SEED,
            rows_train=len(seen),
            inputs=inputs,
            gates=user.GATES,
            baseline=baseline,
            golden=golden,
            runtime=runtime,
        )
        folder.mkdir(parents=True, exist_ok=True)
        pickled = io.BytesIO()
        joblib.dump(estimator, pickled)
        files = {
            "model": artifact.write_file(folder, "model", ".joblib", pickled.getvalue()),
            "card": artifact.write_file(
                folder, "card", ".html", render_card(facts, evaluation).encode()
            ),
        }
        manifest = Manifest(
            format=artifact.FORMAT,
            name=facts.name,
            version=version,
            created_at=facts.created_at,
            files=files,
            runtime=runtime,
            source=source,
            data=data,
            seed=user.SEED,
            inputs=inputs,
            outputs=outputs,
            metrics=evaluation.metrics,
            gates=user.GATES,
            baseline=baseline,
            golden=golden,
        )
        artifact.commit(folder, manifest)
        say(f"version {version}")
    console.print(f"    model     {folder / files['model'].path}")
    console.print(f"    card      {folder / files['card'].path}  (open it in a browser)")
    return manifest


@contextmanager
def stage(name: str) -> Iterator[Any]:
    """Show a step with a running clock, then what came of it."""
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
    # Labels would let rows be mixed up or chosen twice.
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


def _rows(schema: Schema, frame: pd.DataFrame) -> list[Row]:
    """Return the frame's rows as a client would send them, so that the same path is judged."""
    columns = [frame[item.name].astype(object) for item in schema.inputs]
    plain = [column.where(column.notna(), None).tolist() for column in columns]
    return list(zip(*plain, strict=True))


def _answers(predictor: Predictor, schema: Schema, frame: pd.DataFrame) -> list[dict[str, Any]]:
    try:
        return predictor(_rows(schema, frame))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"predict: {error}") from error


def _golden(predictor: Predictor, schema: Schema, frame: pd.DataFrame) -> Golden:
    names = [item.name for item in schema.inputs]
    instances = [dict(zip(names, row, strict=True)) for row in _rows(schema, frame.head(GOLDEN))]
    # Through JSON and back, as a client's request goes.
    rows = schema.decode(msgspec.json.encode({"instances": instances}))
    return Golden(instances=instances, predictions=predictor(rows))


def _print_metrics(evaluation: Evaluation) -> None:
    for name, value in evaluation.metrics.items():
        console.print(f"    {name:18} {value:.4g}")


def _version(*parts: Any) -> str:
    """Return a hash of all that makes the model what it is: same source, data, seed: same version."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:12]


def _data_hash(frame: pd.DataFrame, truth: pd.Series[Any]) -> str:
    digest = hashlib.sha256(msgspec.json.encode([str(name) for name in frame.columns]))
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    digest.update(pd.util.hash_pandas_object(truth, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _source() -> Source:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None  # no git here, or no repository
        return done.stdout.strip()

    sha = git("rev-parse", "HEAD")
    status = git("status", "--porcelain") if sha else None
    digest = hashlib.sha256((ROOT / "model.py").read_bytes()).hexdigest()
    return Source(git_sha=sha, dirty=None if status is None else bool(status), sha256=digest)


if __name__ == "__main__":
    main()
