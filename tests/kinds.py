"""tests/models: model.py files of the kinds that people bring, and services made of them.

Beside what the service reads, a file may say what the test should know:
    NEEDS, NEEDS_TO_TRAIN   libraries, as lines for requirements.txt and requirements-train.txt
    make_files()            makes the files that the owner would have had before
    INPUTS, OUTPUTS         fields and their types, as OpenAPI must state them
    expected(frame)         the right answers; else the trained model is asked without the service
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, SERVICE_VENV, copied, make

FOLDER = ROOT / "tests" / "models"
PINS = ROOT / "tests" / "requirements-models.txt"
MODELS_VENV = ROOT / "build" / "models-venv"


@dataclass(frozen=True)
class Kind:
    """One of them: a file, or a folder with model.py and what belongs beside it."""

    name: str

    @property
    def model(self) -> Path:
        folder = FOLDER / self.name
        return folder / "model.py" if folder.is_dir() else FOLDER / f"{self.name}.py"

    @cached_property
    def stated(self) -> dict[str, Any]:
        """The constants of model.py whose names are in capitals and whose values are written out.

        Read, not imported: its libraries are in another environment.
        """
        found = {}
        for node in ast.parse(self.model.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                try:
                    found[node.targets[0].id] = ast.literal_eval(node.value)
                except ValueError:
                    continue  # computed
        return found

    @property
    def venv(self) -> Path:
        """The environment that has its libraries; the test is skipped, in CI failed, without it."""
        needs = self.stated.get("NEEDS")
        return models_venv(*needs) if needs else SERVICE_VENV

    def trained(self, baked: Path, into: Path) -> Path:
        """Return a copy of a service with this model, trained by `make train`."""
        folder = self.service(baked, into)
        done = make(folder, "train", venv=self.venv)
        assert done.returncode == 0, done.stdout + done.stderr
        return folder

    def service(self, baked: Path, into: Path) -> Path:
        """Return a copy of a service with this model and what belongs beside it, not trained."""
        folder = copied(baked, into)
        shutil.rmtree(folder / "artifact")
        if self.model.parent == FOLDER:
            shutil.copy(self.model, folder / "model.py")
        else:
            shutil.copytree(self.model.parent, folder, dirs_exist_ok=True)
        for key, file in (
            ("NEEDS", "requirements.txt"),
            ("NEEDS_TO_TRAIN", "requirements-train.txt"),
        ):
            if libraries := self.stated.get(key):
                with (folder / file).open("a") as stream:
                    stream.writelines(f"{pin(library)}\n" for library in libraries)
                (self.venv / "train").touch()  # they are installed, whatever make may think
        if "def make_files():" in self.model.read_text():
            python = self.venv / "bin" / "python"
            subprocess.run(
                [python, "-c", "import model; model.make_files()"], cwd=folder, check=True
            )
        return folder


def models_venv(*libraries: str) -> Path:
    """Return the environment that has such libraries; skips, and in CI fails, without it."""
    if not (MODELS_VENV / "done").exists():
        if os.environ.get("CI"):
            pytest.fail("build/models-venv is missing")
        pytest.skip(f"needs {', '.join(libraries)}: make build/models-venv/done")
    return MODELS_VENV


KINDS = [
    Kind(path.stem)
    for path in sorted(FOLDER.iterdir())
    if path.suffix == ".py" or (path / "model.py").exists()
]


def pin(library: str) -> str:
    found = re.search(rf"^{re.escape(library)}==.*$", PINS.read_text(), re.MULTILINE)
    assert found, f"{library} is not in {PINS}"
    return found[0]
