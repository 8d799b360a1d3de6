"""What the other files here share: the service's names, its git history, and the way to fail."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

from tools.programs import ToolError

ROOT = Path(__file__).parents[2]
_FOUND = tomllib.loads((ROOT / "service.toml").read_text())
NAME: str = _FOUND["name"]
CANDIDATE = f"{NAME}-candidate"
REPOSITORY = f"{_FOUND['image_registry']}/{NAME}"
DeployError = ToolError


class NotRunning(DeployError):
    """Something else is released than before, but it does not run."""


def git(*arguments: str) -> str:
    """Return what git prints, stripped; nothing if git fails or is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
