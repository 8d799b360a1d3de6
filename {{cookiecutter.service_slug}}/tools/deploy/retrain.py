"""`make retrain`: a training in a container, as it would be elsewhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pipeline.exits import GOOD, NOTHING_NEW
from tools.deploy.builder import RUNNERS, first_that_works
from tools.deploy.image import train_image
from tools.deploy.service import ROOT, DeployError

# What a training may be told, besides STORE; the second line is what CI systems call a job.
PASSED = {"RUN", "DATASET", "DATA"}
PASSED |= {"GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILD_TAG", "BUILD_BUILDID", "CODEBUILD_BUILD_ID"}
CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")


def retrain(options: list[str]) -> None:
    """Train in a container: this source, the packages of the lock file, and what is in data/ now.

    It goes on from the checkpoints of STORE, runs/ by default, and replaces the artifact in this
    folder. Raises DeployError.
    """
    runner = first_that_works(RUNNERS)
    image = train_image(runner, options)
    data = ROOT / "data"
    command = [runner, "run", "--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=all"]
    # The files it writes belong to the user who runs this.
    command += [f"--user={os.getuid()}:{os.getgid()}"]
    command += ["--env=ARTIFACT_DIR=artifact", "--env=REPORT_DIR=report"]
    for name in ("artifact", "runs", "report"):
        (ROOT / name).mkdir(exist_ok=True)
        command.append(f"--volume={ROOT / name}:/app/{name}")
    command += _told() + _store()
    if runner == "podman" and os.getuid():
        command += ["--userns=keep-id"]
    if data.is_dir():
        command += [f"--volume={data}:/app/data:ro"]
    if subprocess.run([*command, image]).returncode not in (GOOD, NOTHING_NEW):
        raise DeployError("the training in the container failed; see above")


def _told() -> list[str]:
    """Return the options by which the container gets variables, and what they are the paths of.

    That is data that are mounted here, or the token of a role in the cloud.
    """
    found = []
    for name, value in sorted(os.environ.items()):
        if name in PASSED or name.startswith(CLOUDS):
            found.append(f"--env={name}")
            if value.startswith("/") and Path(value).exists():
                found.append(f"--volume={value}:{value}:ro")
    return found


def _store() -> list[str]:
    """Return the options by which the container may write to a store that is a folder."""
    store = os.environ.get("STORE", "")
    if "://" in store:
        return ["--env=STORE"]
    if not store:
        return []
    folder = ROOT / Path(store).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return [f"--env=STORE={folder}", f"--volume={folder}:{folder}"]
