"""The model that is live, and what it would answer: it loads in a process of its own.

There it has its own code beside it, and nothing of the candidate's, which may be another model.py.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pandas as pd

from pipeline import models, records
from pipeline.store import Corrupt, Store, StoreError
from service.artifact import Manifest
from service.record import Answer
from service.source import ROOT
from training.evaluate import Array
from training.package import install

ENVIRONMENTS = ("production", "staging")
SAID_WHY = 3  # the exit code of the process for what it says in a line
SECONDS = 3600
DAMAGED = "it is damaged in the store"


class NotComparable(Exception):
    """Why live cannot answer the candidate's rows, in a line."""


class LiveFailed(StoreError):
    """What may not happen again, and so must not be kept as a result."""


@dataclass(frozen=True)
class LiveModel:
    """`name` is how people call it; `deployed`: it serves somewhere, or it is only the last one.

    `record` and `made_by`, its run, are None if they are not in the store, or damaged; `manifest`
    is None too if it is of a format that this service does not read.
    """

    version: str
    name: str
    deployed: bool
    record: records.Model | None
    manifest: Manifest | None
    made_by: records.Run | None

    def is_made_of(self, code: str, evaluated: str) -> bool:
        """Tell whether it is what this code would make, `evaluated` being its Evaluate's key."""
        run = self.made_by
        keys = {step.name: step.key for step in run.steps} if run else {}
        same = run is not None and run.code == code and keys.get("evaluate") == evaluated
        return same and self.manifest is not None


@dataclass(frozen=True)
class Answers:
    """What live says to the rows: its answers, and for classifiers a probability per class."""

    answers: list[Answer]
    classes: list[Any] | None
    probability: Array | None


def find(store: Store) -> LiveModel | None:
    """Return the model of the last deployment to production, else to staging, else the last one."""
    for env in ENVIRONMENTS:
        if deployed := records.deployments(store, env):
            last = deployed[-1]
            name = f"{last.version}, in {env} since {last.at[:10]}"
            return _live(store, last.version, name, True)
    for run in records.runs(store):
        if run.version and run.status in ("good", "undecided"):
            name = f"{run.version}, the last one; none is deployed"
            if (found := _live(store, run.version, name, False)).record:
                return found
    return None


def _live(store: Store, version: str, name: str, deployed: bool) -> LiveModel:
    record, manifest = records.model(store, version), None
    if record:
        with suppress(msgspec.MsgspecError, Corrupt):
            manifest = models.manifest(store, record)
    run = records.maker(store, version, record.run if record else "")
    return LiveModel(version, name, deployed, record, manifest, run)


def answers(store: Store, live: LiveModel, frame: pd.DataFrame) -> Answers:
    """Return what live says to the rows of `frame`.

    Raises NotComparable if it cannot, and LiveFailed if it was ended or took too long.
    """
    if live.record is None:
        raise NotComparable("it is not in the store, or damaged there")
    if live.manifest is None:
        raise NotComparable("its artifact is of a format that this service does not read")
    for item in live.manifest.inputs:
        if item.name not in frame.columns:
            raise NotComparable(f"it wants a column {item.name!r}, which the data no longer have")
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            install(folder / "artifact", models.contents(store, live.record, models.ARTIFACT))
            code = models.contents(store, live.record, models.CODE)
        except Corrupt:
            raise NotComparable(DAMAGED) from None
        for path, content in code.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        for package in ("service", "training", "pipeline"):
            (folder / package).symlink_to(ROOT / package)
        with (folder / "rows.pickle").open("wb") as stream:
            pickle.dump(frame, stream, protocol=5)
        command = [sys.executable, "-m", "pipeline.answering"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise LiveFailed(f"the live model did not answer within {SECONDS} s") from None
        if done.returncode < 0:
            raise LiveFailed(f"the live model was ended by signal {-done.returncode}")
        if done.returncode:
            said = done.stdout if done.returncode == SAID_WHY else done.stderr
            raise NotComparable(["it ended without a word", *said.strip().splitlines()][-1])
        with (folder / "answers.pickle").open("rb") as stream:
            found: Answers = pickle.load(stream)
    return found
