"""The last step of training: all that serving needs, made into one artifact.

Its files carry their own sha256 in their names, and `install` replaces the manifest last, in one
rename: whatever crashes, a folder holds either the old artifact or the new one, whole.
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
from tempfile import TemporaryDirectory
from typing import Any, Literal

import joblib
import msgspec
import pandas as pd
from msgspec.structs import replace

from service import artifact, source
from service.artifact import Baseline, Data, File, Golden, Input, Manifest, Output, Outputs, Source
from service.engine import Predictor
from service.record import Answer
from service.schema import rows_of
from training.card import render_card
from training.errors import owners
from training.evaluate import Evaluation
from training.golden import choose
from training.independence import answer_alike
from training.inputs import histogram, plain_rows
from training.privacy import is_free_text, texts
from training.serving import Served, served

ROOT = Path(__file__).parent.parent
UNWRITABLE = "the model cannot be written by pickle"
PICKLE_HINT = (
    "; classes and functions that it is made of must stand at the top of model.py, and what cannot "
    "be pickled, as a session of onnxruntime, wants a class with __getstate__ and __setstate__"
)
# Taken when model.py is imported: it may be edited while training runs.
FINGERPRINT, MODULES = source.fingerprint(), source.files()


@dataclass(frozen=True)
class Training:
    """What the steps before packaging found.

    `data` is the hash of what was loaded; `answers` are those to the held-out rows, in order.
    """

    origin: str
    data: str
    seed: int
    gates: list[str]
    frame: pd.DataFrame
    truth: pd.Series[Any] | pd.DataFrame | None
    weights: pd.Series[float] | None
    inputs: list[Input]
    estimator: Any
    predictor: Predictor
    answers: list[Answer]
    evaluation: Evaluation


@dataclass(frozen=True)
class Packaged:
    """`files`: the artifact's, by name. `note`: a line that the owner should know of, or ""."""

    manifest: Manifest
    files: dict[str, bytes]
    note: str


def package(done: Training) -> Packaged:
    """Return the artifact of a training; raises TrainingError if it would not serve."""
    stream = io.BytesIO()
    with owners(UNWRITABLE, PICKLE_HINT):
        joblib.dump(done.estimator, stream)
    model = stream.getvalue()
    manifest = replace(draft(done), golden=_golden(done))
    trial = _serve(manifest, model)
    manifest = replace(manifest, runtime=trial.runtime, per_worker=trial.lost_threads > 0)
    manifest = replace(manifest, version=_version(manifest))
    card = render_card(manifest, done.evaluation).encode()
    files: dict[Literal["model", "card"], File] = {
        "model": _file("model", ".joblib", model),
        "card": _file("card", ".html", card),
    }
    manifest = replace(manifest, files=files)
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    named = {files["model"].path: model, files["card"].path: card, artifact.MANIFEST: content}
    return Packaged(manifest, named, trial.note)


def install(folder: Path, files: dict[str, bytes]) -> None:
    """Make an artifact the one in `folder`, then remove what the one before it left."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == artifact.MANIFEST):
        _replace(folder / name, files[name])
    for pattern in ("model-*", "card-*", "*.partial"):
        for path in folder.glob(pattern):
            if path.name not in files:
                path.unlink()


def _serve(manifest: Manifest, model: bytes) -> Served:
    """Have the model served once, with an empty card."""
    files: dict[Literal["model", "card"], File] = {
        "model": _file("model", ".joblib", model),
        "card": _file("card", ".html", b""),
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / files["model"].path).write_bytes(model)
        (folder / files["card"].path).touch()
        content = msgspec.json.encode(replace(manifest, files=files))
        (folder / artifact.MANIFEST).write_bytes(content)
        return served(folder)


def _file(stem: str, suffix: str, content: bytes) -> File:
    sha256 = hashlib.sha256(content).hexdigest()
    return File(path=f"{stem}-{sha256[:12]}{suffix}", sha256=sha256, bytes=len(content))


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def draft(done: Training) -> Manifest:
    """Return the manifest, but for what only packaging tells: golden rows, files, the versions of
    the model's packages, and what follows from them, the version.
    """
    evaluation = done.evaluation
    fields = [_field(field, done.answers) for field in done.predictor.fields]
    return Manifest(
        format=artifact.FORMAT,
        name=tomllib.loads((ROOT / "service.toml").read_text())["name"],
        version="",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
        runtime=artifact.runtime_versions(),
        source=_source(),
        data=Data(origin=done.origin, rows=len(done.frame), sha256=done.data),
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
                if field.public and field.type in ("float", "int", "bool", "string")
            },
        ),
        golden=Golden(instances=[], predictions=[]),
    )


def _version(manifest: Manifest) -> str:
    """Return a hash of what makes the model what it is.

    That leaves out the time, the commit and the bytes of the files: the same source, data, seed and
    packages give the same version again.
    """
    content = (
        manifest.format,
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


def _field(field: Output, answers: list[Answer]) -> Output:
    found = texts(field, answers)
    return replace(field, public=not is_free_text(found))


def _golden(done: Training) -> Golden:
    """Return held-out rows that show something; raises TrainingError if answers vary by company."""
    evaluation = done.evaluation
    truth = evaluation.truth.tolist() if evaluation.kind == "classification" else []
    chosen = choose(done.predictor.fields, done.answers, truth)
    kept = evaluation.frame.iloc[chosen]
    names = [item.name for item in done.inputs]
    instances = [dict(zip(names, row, strict=True)) for row in plain_rows(done.inputs, kept)]
    rows = rows_of(done.inputs, instances)
    among_all = {row: done.answers[row] for row in chosen}
    return Golden(
        instances=msgspec.to_builtins(instances),  # dates are strings in JSON
        predictions=answer_alike(done.predictor, rows, among_all),
    )


def _source() -> Source:
    def git(*arguments: str) -> str | None:
        # As the tag of `make image` has it: no manifest of k8s/, and no neighbour, is in the image.
        command = ["git", "-C", str(ROOT), *arguments, "--", ".", ":!k8s"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None  # git is missing here, or the repository is
        return done.stdout.strip()

    if sha := git("log", "-1", "--format=%H"):
        dirty = None if (status := git("status", "--porcelain")) is None else bool(status)
    else:
        # In the image that trains, which knows what it was made from.
        sha, _, edited = os.environ.get("REVISION", "").removeprefix("nogit").partition("-")
        dirty = bool(edited) if sha else None
    return Source(git_sha=sha or None, dirty=dirty, sha256=FINGERPRINT, modules=MODULES)
