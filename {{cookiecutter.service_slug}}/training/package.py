"""The last step of training: all that serving needs, written as one artifact.

Its files carry their own sha256 in their names, and the manifest is replaced last, in one rename:
at every moment, whatever crashes, the folder holds either the old artifact or the new one, whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import joblib
import msgspec
import pandas as pd
from msgspec.structs import replace

from service import artifact
from service.artifact import Baseline, Data, File, Golden, Input, Manifest, Outputs, Source
from service.engine import Predictor
from service.schema import rows_of
from training.card import render_card
from training.evaluate import Evaluation
from training.inputs import histogram, plain_rows

ROOT = Path(__file__).parent.parent
GOLDEN = 8


@dataclass(frozen=True)
class Training:
    """What the steps before packaging found; `answers` are those to the held-out rows, in order."""

    origin: str
    seed: int
    gates: list[str]
    frame: pd.DataFrame
    truth: pd.Series[Any]
    inputs: list[Input]
    estimator: Any
    predictor: Predictor
    answers: list[dict[str, Any]]
    evaluation: Evaluation


def package(folder: Path, done: Training) -> Manifest:
    """Write the artifact of a training to `folder`, in place of the one there."""
    manifest = _manifest(done)
    model = io.BytesIO()
    joblib.dump(done.estimator, model)
    card = render_card(manifest, done.evaluation).encode()
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Literal["model", "card"], File] = {
        "model": _write_file(folder, "model", ".joblib", model.getvalue()),
        "card": _write_file(folder, "card", ".html", card),
    }
    manifest = replace(manifest, files=files)
    _commit(folder, manifest)
    return manifest


def _write_file(folder: Path, stem: str, suffix: str, content: bytes) -> File:
    """Write a file of the artifact under a name that holds its hash; nothing is overwritten."""
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f"{stem}-{sha256[:12]}{suffix}"
    _replace(path, content)
    return File(path=path.name, sha256=sha256, bytes=len(content))


def _commit(folder: Path, manifest: Manifest) -> None:
    """Make the artifact current, then remove what the one before it left."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    _replace(folder / artifact.MANIFEST, content)
    keep = {artifact.MANIFEST} | {file.path for file in manifest.files.values()}
    for pattern in ("model-*", "card-*", "*.partial"):
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def _manifest(done: Training) -> Manifest:
    """Return the manifest, version and all, but for the files, which are not written yet."""
    fields = list(done.predictor.fields or [])
    evaluation = done.evaluation
    manifest = Manifest(
        format=artifact.FORMAT,
        name=tomllib.loads((ROOT / "service.toml").read_text())["name"],
        version="",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
        runtime=artifact.runtime_versions(),
        source=_source(),
        data=_data(done),
        seed=done.seed,
        inputs=done.inputs,
        outputs=Outputs(kind=evaluation.kind, classes=evaluation.classes, fields=fields),
        metrics=evaluation.metrics,
        gates=done.gates,
        baseline=Baseline(
            inputs={
                item.name: histogram(done.frame[item.name])
                for item in done.inputs
                if item.public and item.type != "datetime"
            },
            outputs={
                field.name: histogram(pd.Series([answer[field.name] for answer in done.answers]))
                for field in fields
            },
        ),
        golden=_golden(done),
    )
    return replace(manifest, version=_version(manifest))


def _version(manifest: Manifest) -> str:
    """Return a hash of what makes the model what it is.

    That leaves out the time, the commit and the bytes of the files: the same source, data, seed and
    packages give the same version again.
    """
    content = (
        manifest.source.sha256,
        manifest.data.sha256,
        manifest.seed,
        manifest.runtime,
        manifest.inputs,
        manifest.outputs,
        manifest.metrics,
        manifest.golden,
    )
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:12]


def _golden(done: Training) -> Golden:
    kept = done.evaluation.frame.head(GOLDEN)
    names = [item.name for item in done.inputs]
    instances = [dict(zip(names, row, strict=True)) for row in plain_rows(done.inputs, kept)]
    return Golden(
        instances=msgspec.to_builtins(instances),  # dates are strings in JSON
        predictions=done.predictor(rows_of(done.inputs, instances)),
    )


def _data(done: Training) -> Data:
    digest = hashlib.sha256(msgspec.json.encode(list(done.frame.columns)))
    for values in (done.frame, done.truth):
        digest.update(pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes())
    return Data(origin=done.origin, rows=len(done.frame), sha256=digest.hexdigest())


def _source() -> Source:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None  # git is missing here, or the repository is
        return done.stdout.strip()

    sha = git("rev-parse", "HEAD")
    status = git("status", "--porcelain") if sha else None
    digest = hashlib.sha256((ROOT / "model.py").read_bytes()).hexdigest()
    return Source(git_sha=sha, dirty=None if status is None else bool(status), sha256=digest)
