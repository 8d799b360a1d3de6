"""The last step of training: everything that serving needs, written as one artifact."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import joblib
import msgspec
import pandas as pd

from service import artifact
from service.artifact import Baseline, Data, File, Golden, Input, Manifest, Outputs, Source
from service.engine import Predictor
from service.schema import Schema
from training.card import Facts, render_card
from training.evaluate import Evaluation
from training.inputs import histogram, plain_rows

ROOT = Path(__file__).parent.parent
GOLDEN = 8


@dataclass(frozen=True)
class Training:
    """What the steps before have found; `answers` are those to the held-out rows."""

    origin: str
    seed: int
    gates: list[str]
    frame: pd.DataFrame
    truth: pd.Series[Any]
    rows_train: int
    inputs: list[Input]
    estimator: Any
    predictor: Predictor
    answers: list[dict[str, Any]]
    evaluation: Evaluation


def package(folder: Path, done: Training) -> Manifest:
    """Write the artifact of a training to `folder`, in place of the one there."""
    golden = _golden(done)
    fields = list(done.predictor.fields or [])
    evaluation = done.evaluation
    outputs = Outputs(kind=evaluation.kind, classes=evaluation.classes, fields=fields)
    data = Data(origin=done.origin, rows=len(done.frame), sha256=_data_hash(done.frame, done.truth))
    source = _source()
    runtime = artifact.runtime_versions()
    baseline = Baseline(
        inputs={name: histogram(done.frame[name]) for name in done.frame.columns},
        outputs={
            field.name: histogram(pd.Series([answer[field.name] for answer in done.answers]))
            for field in fields
        },
    )
    facts = Facts(
        name=tomllib.loads((ROOT / "service.toml").read_text())["name"],
        # All that makes the model what it is, and nothing else: not the time, the commit, or the
        # bytes of the pickle.
        version=_hash(
            (source.sha256, data.sha256, done.seed, runtime, done.inputs, outputs)
            + (evaluation.metrics, golden)
        )[:12],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        source=source,
        data=data,
        seed=done.seed,
        rows_train=done.rows_train,
        inputs=done.inputs,
        gates=done.gates,
        baseline=baseline,
        golden=golden,
        runtime=runtime,
    )
    pickled = io.BytesIO()
    joblib.dump(done.estimator, pickled)
    card = render_card(facts, evaluation).encode()
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Literal["model", "card"], File] = {
        "model": artifact.write_file(folder, "model", ".joblib", pickled.getvalue()),
        "card": artifact.write_file(folder, "card", ".html", card),
    }
    manifest = Manifest(
        format=artifact.FORMAT,
        name=facts.name,
        version=facts.version,
        created_at=facts.created_at,
        files=files,
        runtime=runtime,
        source=source,
        data=data,
        seed=done.seed,
        inputs=done.inputs,
        outputs=outputs,
        metrics=evaluation.metrics,
        gates=done.gates,
        baseline=baseline,
        golden=golden,
    )
    artifact.commit(folder, manifest)
    return manifest


def _golden(done: Training) -> Golden:
    kept = done.evaluation.frame.head(GOLDEN)
    names = [item.name for item in done.inputs]
    instances = [dict(zip(names, row, strict=True)) for row in plain_rows(done.inputs, kept)]
    # Through JSON and back, as a client's request goes.
    rows = Schema(done.inputs, GOLDEN).decode(msgspec.json.encode({"instances": instances}))
    return Golden(instances=instances, predictions=done.predictor(rows))


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


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
