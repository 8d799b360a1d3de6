"""What has to exist before a server can start: its packages, its model, its prepared files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from loadtests import servers
from loadtests.agent import Failure
from loadtests.servers import Server

HERE = Path(__file__).parent
RIVALS = HERE / "rivals"
REPOSITORY = HERE.parent
BUILD = REPOSITORY / "build" / "bench"
MODELS = BUILD / "models"
ROWS = MODELS / "rows.json"


@dataclass(frozen=True)
class Installed:
    """A server with its environment and one of the two models, ready to start in `folder`."""

    server: Server
    model: Path
    environment: Path
    folder: Path
    # What scikit-learn alone says of every row in ROWS.
    scores: list[float]
    state: Path

    @property
    def log(self) -> Path:
        """What it printed since it was last started."""
        return self.state / "server.log"

    def run(self, command: Sequence[str]) -> str:
        return _run(self.fill(command, 0), cwd=self.folder, env=self.environ(0))

    def fill(self, words: Sequence[str], port: int) -> list[str]:
        return [
            word.format(port=port, spare_port=port + 1, model=self.model, state=self.state)
            for word in words
        ]

    def environ(self, port: int) -> dict[str, str]:
        names, values = self.server.environ.keys(), tuple(self.server.environ.values())
        return {
            **os.environ,
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            # One core each: more threads would only take turns on it.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MODEL": str(self.model),
            **dict(zip(names, self.fill(values, port), strict=True)),
        }

    def versions(self) -> dict[str, str]:
        packages = json.loads(self.run(("python", "-m", "pip", "list", "--format=json")))
        versions = {package["name"].lower(): package["version"] for package in packages}
        return {name: versions[name] for name in self.server.packages}


def install(server: Server, model: str) -> Installed:
    """Make everything the server needs; what exists already is kept, ours is always made anew."""
    plain = environment("flask", RIVALS / "flask" / "requirements.txt")
    if not ROWS.exists():
        MODELS.mkdir(parents=True, exist_ok=True)
        _run([str(plain / "bin" / "python"), "train.py", str(MODELS)], cwd=HERE / "models")
    state = _empty(BUILD / "state" / f"{server.name}-{model}")
    if server.name in servers.TEMPLATE:
        return Installed(server, *_generated(model), state=state)
    folder = RIVALS / server.rival
    file = MODELS / f"{model}{'-frame' if server.frame else ''}.joblib"
    installed = Installed(
        server=server,
        model=file,
        environment=environment(server.rival, folder / "requirements.txt"),
        folder=folder,
        scores=_scores(plain, file),
        state=state,
    )
    if server.prepare:
        installed.run(server.prepare)
    return installed


@cache
def _generated(model: str) -> tuple[Path, Path, Path, list[float]]:
    """Generate the service from the template as a user would, and train it.

    Return its model, environment, folder and scores.
    """
    folder = BUILD / f"ours-{model}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config"]
    command += [f"--output-dir={BUILD}", str(REPOSITORY), f"service_slug={folder.name}"]
    _run(command, cwd=REPOSITORY)
    if model != "lr":
        with (folder / "model.py").open("a") as file:
            file.write("\n\n" + (HERE / "models" / f"{model}.py").read_text())
    packages = BUILD / "envs" / "ours"
    _run(["make", "train", f"VENV={packages}"], cwd=folder)
    manifest = json.loads((folder / "artifact" / "manifest.json").read_text())
    file = folder / "artifact" / manifest["files"]["model"]["path"]
    return file, packages, folder, _scores(packages, file)


def environment(name: str, requirements: Path) -> Path:
    """A virtual environment with exactly these requirements, made anew when they change."""
    folder = BUILD / "envs" / name
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the environment of {name} ...", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet"]
        _run([*pip, f"--requirement={requirements}"], cwd=HERE)
        stamp.write_text(wanted)
    return folder


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _scores(packages: Path, model: Path) -> list[float]:
    # scikit-learn would only warn that plain rows have no column names.
    command = [str(packages / "bin" / "python"), "-W", "ignore", "score.py", str(model), str(ROWS)]
    scores: list[float] = json.loads(_run(command, cwd=HERE / "models"))
    return scores


def _run(command: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
