"""`make image` and `make retrain`: the Dockerfile's stages, by whatever builds images here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from urllib.parse import urlsplit

from tools.deploy.service import ROOT, DeployError, Service, manifest

# A client without its daemon is no builder, hence a question that only a working one answers.
BUILDERS = ("docker", "podman", "buildah")


def build(service: Service, options: Sequence[str] = ()) -> str:
    """Build the image of the artifact that is here, and return its name.

    The tag says which model and which code: `<artifact version>-<commit>`.
    Raises DeployError, for an artifact that the build refuses among others.
    """
    found = manifest()
    name = f"{service.repository}:{found['version']}-{_commit()}"
    python = ".".join(found["runtime"]["python"].split(".")[:2])
    builder = _builder(BUILDERS)
    arguments = {
        "PYTHON": python,
        "VERSION": found["version"],
        "REVISION": _git("rev-parse", "HEAD"),
        "SOURCE": _origin(),
    }
    _build(builder, "serve", name, arguments, options)
    push = [builder, "push", name]
    print(
        f"\nbuilt {name}\n"
        f"  {' '.join(push)}\n"
        f"  make deploy ENV=staging TAG={name.rpartition(':')[2]}"
    )
    return name


def retrain(service: Service, options: Sequence[str] = ()) -> None:
    """Train in a container: this source, the packages of the lock file, and what is in data/ now.

    The artifact is the one in this folder, replaced. Raises DeployError.
    """
    runner = _builder(BUILDERS[:2])
    name = f"{service.repository}:train"
    _build(runner, "train", name, {}, options)
    folder = ROOT / "artifact"
    folder.mkdir(exist_ok=True)
    command = [runner, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"]
    # What it writes should belong to who asked for it.
    command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    if runner == "podman" and os.getuid():
        command += ["--userns", "keep-id"]
    command += ["--volume", f"{folder}:/app/artifact"]
    if (data := ROOT / "data").is_dir():
        command += ["--volume", f"{data}:/app/data:ro"]
    if subprocess.run([*command, name]).returncode:
        raise DeployError("the training in the container failed; see above")


def _build(
    builder: str, stage: str, name: str, arguments: dict[str, str], options: Sequence[str]
) -> None:
    command = [builder, "build", "--target", stage, "--tag", name]
    if builder == "buildah":
        command += ["--layers"]  # the others keep them for the next build anyway
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    if subprocess.run([*command, *options, "."], cwd=ROOT).returncode:
        raise DeployError(f"{builder} did not build the image; see above")


def _builder(names: Sequence[str]) -> str:
    for name in names:
        try:
            done = subprocess.run([name, "info"], capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return name
    raise DeployError(f"none of these works here: {', '.join(names)}")


def _commit() -> str:
    sha = _git("rev-parse", "--short=8", "HEAD")
    if not sha:
        return "nogit"
    return sha + ("-dirty" if _git("status", "--porcelain", "--", ".") else "")


def _origin() -> str:
    """Return where the source is, without the password that such an address may hold."""
    url = _git("remote", "get-url", "origin")
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""  # no git here
    return done.stdout.strip() if done.returncode == 0 else ""
