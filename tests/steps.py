"""Shell lines of CI systems that cannot be had here, run in bash with a recording make.

tests/azure.py and tests/jenkins.py read which lines would run, and with which environment.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from occasions import OCCASIONS, Recorder, differences


class Mistake(Exception):
    """A CI file says something that its system, or what docs/ci.md configures, does not know."""


@dataclass
class Step:
    """A shell line and its environment. `waits`: whether a person is asked before it."""

    script: str
    environment: dict[str, str]
    waits: bool


def wrong(occasion: str, steps: Iterable[Step], into: Path) -> list[str]:
    """Return in what these steps are not what the table says of an occasion."""
    recorder = Recorder(into / "recorder")
    folder = into / "folder"
    (folder / "loadtests").mkdir(parents=True)
    expected = OCCASIONS[occasion]
    found = []
    for waits in (False, True):
        for step in steps:
            if step.waits == waits:
                found += _run(step, recorder.bin, folder)
        calls = expected.approved if waits else expected.calls
        made = recorder.calls()
        found += differences(made, calls, secrets=occasion != "request")
        if waits and not all(call.values.get("APPROVER") for call in made):
            found.append("the record does not say who approved")
    if list(into.rglob("pwned")):
        found.append("a shell evaluates a value from outside")
    return [f"{occasion}: {each}" for each in found]


def _run(step: Step, make: Path, folder: Path) -> list[str]:
    command = ["bash", "--noprofile", "--norc", "-ec", step.script]
    env = step.environment | {"PATH": f"{make}:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    return [f"{step.script}: {done.stderr}"] if done.returncode else []
