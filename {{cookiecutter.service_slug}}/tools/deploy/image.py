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
RUNNERS = ("docker", "podman")


def build(options: list[str]) -> None:
    """Build the image of the artifact that is here; its tag is `<artifact version>-<commit>`.

    `options` go to the builder. Raises DeployError, also for an artifact that would not start; of
    code that was edited since training, before anything is built.
    """
    manifest = json.loads((ROOT / "artifact" / "manifest.json").read_text())
    if reason := source.edited(manifest["source"]["sha256"]):
        raise DeployError(f"{reason}; run `make train`")
    tag = f"{manifest['version']}-{_commit()}"
    arguments = {
        "PYTHON": manifest["runtime"]["python"].rpartition(".")[0],
        "VERSION": manifest["version"],
        "REVISION": git("rev-parse", "HEAD"),
        "SOURCE": _origin(),
    }
    named = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    builder = _first_that_works(BUILDERS)
    _build(builder, "serve", tag, [*named, *options])
    print(
        f"\nbuilt {REPOSITORY}:{tag}\n"
        f"  {builder} push {REPOSITORY}:{tag}\n"
        f"  make release ENV=staging TAG={tag}"
    )


def retrain(options: list[str]) -> None:
    """Train in a container: this source, the packages of the lock file, and what is in data/ now.

    It replaces the artifact in this folder. Raises DeployError.
    """
    runner = _first_that_works(RUNNERS)
    _build(runner, "train", "train", options)
    artifact, data = ROOT / "artifact", ROOT / "data"
    artifact.mkdir(exist_ok=True)
    command = [runner, "run", "--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=all"]
    # The files it writes belong to the user who runs this.
    command += [f"--user={os.getuid()}:{os.getgid()}", f"--volume={artifact}:/app/artifact"]
    if runner == "podman" and os.getuid():
        command += ["--userns=keep-id"]
    if data.is_dir():
        command += [f"--volume={data}:/app/data:ro"]
    if subprocess.run([*command, f"{REPOSITORY}:train"]).returncode:
        raise DeployError("the training in the container failed; see above")


def _build(builder: str, stage: str, tag: str, options: list[str]) -> None:
    command = [builder, "build", "--target", stage, "--tag", f"{REPOSITORY}:{tag}"]
    # docker and podman keep layers for the next build anyway.
    env = os.environ | {"BUILDAH_LAYERS": "true"}
    if subprocess.run([*command, *_pip_conf(), *options, "."], cwd=ROOT, env=env).returncode:
        raise DeployError(f"{builder} did not build the image; see above")


def _pip_conf() -> list[str]:
    """Return the option that lends your pip's settings to the build: where a private index is.

    As a secret, so that what they hold is in no layer.
    """
    path = Path(os.environ.get("PIP_CONFIG_FILE") or "~/.config/pip/pip.conf").expanduser()
    return ["--secret", f"id=pip.conf,src={path}"] if path.is_file() else []


def _first_that_works(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            # `info` fails for a client whose daemon does not run; `--version` would not.
            subprocess.run([name, "info"], capture_output=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return name
    raise DeployError(f"none of these works here: {', '.join(names)}")


def _commit() -> str:
    sha = git("rev-parse", "--short=8", "HEAD")
    # The manifests are not in the image; `make release` changes them.
    dirty = git("status", "--porcelain", "--", ".", ":!k8s")
    return f"{sha or 'nogit'}{'-dirty' if dirty else ''}"


def _origin() -> str:
    """Return where the source is, without the password that such an address may hold."""
    parts = urlsplit(git("remote", "get-url", "origin"))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
