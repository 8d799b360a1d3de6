"""What images are called: by the commit of what is in them, and by the artifact's version."""

from __future__ import annotations

import json
from typing import Any

from tools.deploy.service import REPOSITORY, ROOT, DeployError, git

# Of the train image, as the Dockerfile has it, and as requirements.lock is made for.
PYTHON = "3.11"
# The manifests are in no image; `make release` changes them.
SOURCE = ("--", ".", ":!k8s")
NO_GIT, EDITED = "nogit", "-dirty"


def manifest() -> dict[str, Any]:
    """Return the manifest of the artifact that is here; raises DeployError if there is none."""
    try:
        found: dict[str, Any] = json.loads((ROOT / "artifact" / "manifest.json").read_text())
    except FileNotFoundError:
        raise DeployError("there is no artifact: make train") from None
    return found


def revision() -> str:
    """Return the last commit that changed what images are made of; nothing without git."""
    return git("log", "-1", "--format=%H", *SOURCE)


def commit(length: int = 8) -> str:
    """Return the revision as tags have it, with a mark if files were edited since."""
    sha = revision()
    if not sha:
        return NO_GIT
    return sha[:length] + (EDITED if git("status", "--porcelain", *SOURCE) else "")


def is_fixed() -> bool:
    """Tell whether the tags of this source mean the same for ever."""
    return not commit().endswith((NO_GIT, EDITED))


def python(artifact: dict[str, Any]) -> str:
    """Return the Python that trained an artifact, as 3.11."""
    return str(artifact["runtime"]["python"]).rpartition(".")[0]


def base(version: str) -> str:
    return f"base-{commit()}-py{version}"


def train() -> str:
    return f"train-{commit()}"


def serve(artifact: dict[str, Any]) -> str:
    return f"{artifact['version']}-{commit()}"


def image(tag: str) -> str:
    return f"{REPOSITORY}:{tag}"
