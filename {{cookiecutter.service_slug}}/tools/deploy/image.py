"""`make image` and `make retrain`: the stages of the Dockerfile, by whatever builds images here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from service import source
from tools.deploy.service import REPOSITORY, ROOT, DeployError, git

BUILDERS = ("docker", "podman", "buildah")


def build(options: list[str]) -> None:
    """Build the image of the artifact that is here; its tag is `<artifact version>-<commit>`.

    `options` go to the builder. Raises DeployError, also for an artifact that would not start; of
    code that was edited since training, before anything is built.
    """
    try:
        manifest = json.loads((ROOT / "artifact" / "manifest.json").read_text())
    except OSError:
        raise DeployError("there is no artifact to put into an image; run `make train`") from None
    if reason := source.edited(manifest["source"]["sha256"]):
        raise DeployError(f"{reason}; run `make train`")
    name = f"{REPOSITORY}:{manifest['version']}-{_commit()}"
    builder = _builder(BUILDERS)
    arguments = {
        "PYTHON": ".".join(manifest["runtime"]["python"].split(".")[:2]),
        "VERSION": manifest["version"],
        "REVISION": git("rev-parse", "HEAD"),
        "SOURCE": _origin(),
    }
    named = [word for item in arguments.items() for word in ("--build-arg", "=".join(item))]
    _build(builder, "serve", name, [*named, *options])
    print(
        f"\nbuilt {name}\n"
        f"  {builder} push {name}\n"
        f"  make release ENV=staging TAG={name.rpartition(':')[2]}"
    )


def retrain(options: list[str]) -> None:
    """Train in a container: this source, the packages of the lock file, and what is in data/ now.

    It replaces the artifact in this folder. Raises DeployError.
    """
    runner = _builder(BUILDERS[:2])
    name = f"{REPOSITORY}:train"
    _build(runner, "train", name, options)
    artifact, data = ROOT / "artifact", ROOT / "data"
    artifact.mkdir(exist_ok=True)
    command = [runner, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"]
    # The files it writes belong to the user who runs this.
    command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    if runner == "podman" and os.getuid():
        command += ["--userns", "keep-id"]
    command += ["--volume", f"{artifact}:/app/artifact"]
    if data.is_dir():
        command += ["--volume", f"{data}:/app/data:ro"]
    if subprocess.run([*command, name]).returncode:
        raise DeployError("the training in the container failed; see above")


def _build(builder: str, stage: str, name: str, options: list[str]) -> None:
    command = [builder, "build", "--target", stage, "--tag", name, *_pip_conf(), *options, "."]
    if builder == "buildah":
        command.insert(2, "--layers")  # docker and podman keep layers for the next build anyway
    if subprocess.run(command, cwd=ROOT).returncode:
        raise DeployError(f"{builder} did not build the image; see above")


def _pip_conf() -> list[str]:
    """Return the option that lends your pip's settings to the build: where a private index is.

    As a secret, so that what they hold is in no layer.
    """
    path = Path(os.environ.get("PIP_CONFIG_FILE") or "~/.config/pip/pip.conf").expanduser()
    return ["--secret", f"id=pip.conf,src={path}"] if path.is_file() else []


def _builder(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            # `info` fails for a client whose daemon does not run; `--version` would not.
            done = subprocess.run([name, "info"], capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return name
    raise DeployError(f"none of these works here: {', '.join(names)}")


def _commit() -> str:
    sha = git("rev-parse", "--short=8", "HEAD")
    if not sha:
        return "nogit"
    # The manifests are not in the image; `make release` changes them.
    return sha + ("-dirty" if git("status", "--porcelain", "--", ".", ":!k8s") else "")


def _origin() -> str:
    """Return where the source is, without the password that such an address may hold."""
    parts = urlsplit(git("remote", "get-url", "origin"))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
