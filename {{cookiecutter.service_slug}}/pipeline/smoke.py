"""`make smoke`: the whole pipeline on a few rows, and the service's own check of what comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.store import Store
from pipeline.train import train
from service.source import ROOT
from training.owner import read

IMPORTANCE_SECONDS = 3


def smoke(user: Any) -> int:
    """Return 0 if model.py trains and its artifact serves; gates are shown, but bind nobody."""
    options = read(user)
    seconds = min(options.importance_seconds, IMPORTANCE_SECONDS)
    options = replace(options, smoke=True, importance_seconds=seconds)
    with TemporaryDirectory() as name:
        folder = Path(name)
        done = train(Store(str(folder / "store")), user, options, folder / "artifact")
        check = [sys.executable, "-m", "service", "--check"]
        env = os.environ | {"ARTIFACT_DIR": str(folder / "artifact")}
        return done.exit or subprocess.run(check, cwd=ROOT, env=env).returncode
