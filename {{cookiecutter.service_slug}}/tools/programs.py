"""Other programs, asked for what they print: no value passes through a shell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Json = dict[str, Any]
INSTALL = {
    "aws": "https://docs.aws.amazon.com/cli",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
}


class ToolError(Exception):
    """Something did not work; the message says what, and what to do, in plain words."""


class Refused(ToolError):
    """A program ran, and refused."""


def output(*command: str, given: str | None = None) -> str:
    """Return what a program prints, stripped, given `given` on stdin.

    Raises Refused if it fails, and ToolError if it is missing.
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        raise ToolError(f"{command[0]} is missing; see {INSTALL[command[0]]}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        # What is asked of a service of AWS stands third.
        raise Refused(f"{' '.join(command[: 3 if command[0] == 'aws' else 2])}: {said}")
    return done.stdout.strip()


def parsed(text: str) -> Json:
    """Return what a program prints as JSON; it may print nothing."""
    found: Json = json.loads(text or "{}")
    return found
