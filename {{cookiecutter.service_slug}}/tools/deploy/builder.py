"""docker, podman or buildah: whatever builds images here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tools.deploy.service import ROOT, DeployError
from tools.deploy.tags import image

BUILDERS = ("docker", "podman", "buildah")
RUNNERS = ("docker", "podman")


def first_that_works(names: tuple[str, ...] = BUILDERS) -> str:
    """Return the first that works here; raises DeployError if none does."""
    for name in names:
        try:
            # `info` fails for a client whose daemon does not run; `--version` would not.
            subprocess.run([name, "info"], capture_output=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return name
    raise DeployError(f"none of these works here: {', '.join(names)}")


def build(builder: str, stage: str, tag: str, options: list[str], **arguments: str) -> None:
    """Build a stage of the Dockerfile; `options` are the builder's. Raises DeployError."""
    command = [builder, "build", "--target", stage, "--tag", image(tag)]
    command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
    # docker and podman keep layers for the next build anyway.
    env = os.environ | {"BUILDAH_LAYERS": "true"}
    if subprocess.run([*command, *_pip_conf(), *options, "."], cwd=ROOT, env=env).returncode:
        raise DeployError(f"{builder} did not build the image; see above")


def has(builder: str, tag: str) -> bool:
    """Tell whether an image is on this machine."""
    command = [builder, "inspect", "--type=image", image(tag)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _pip_conf() -> list[str]:
    """Return the option that lends your pip's settings to the build: where a private index is.

    As a secret, so that what they hold is in no layer.
    """
    path = Path(os.environ.get("PIP_CONFIG_FILE") or "~/.config/pip/pip.conf").expanduser()
    return ["--secret", f"id=pip.conf,src={path}"] if path.is_file() else []
