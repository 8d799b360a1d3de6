"""Trains the toy, or what a test puts in its place, with a store that nothing was in before."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.store import Store
from pipeline.train import train as run

import toy
from service.artifact import Manifest, read_manifest
from training.errors import TrainingError
from training.owner import read

user: Any = toy


def train(folder: Path) -> Manifest:
    """Return the manifest of the artifact in `folder`; raises TrainingError if it was refused."""
    with TemporaryDirectory() as store:
        done = run(Store(store), user, read(user), folder)
    if done.exit:
        raise TrainingError(done.run.reason)
    return read_manifest(folder)
