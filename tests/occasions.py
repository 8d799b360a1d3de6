"""What every CI system has to do on which occasion: the one table that all five are held to.

A recording `make` stands first on PATH; what it wrote down is compared with the table.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

STAGING_URL = "http://staging.example.com"
DATA, NUMBER, CANDIDATE = "s3://data/2026 '$(touch pwned)'", "17", "1a2b-3c4d"  # from outside
VALUES = (
    *("ENV", "DATA", "NUMBER", "CANDIDATE", "HOST", "TAG", "RUN"),
    *("COMMIT", "REUSE", "ON_FAILURE", "ON_DRIFT", "APPROVER"),
)
# What a request for a merge must do without, so that those from forks work.
SECRETS = ("STORE", "REGISTRY_PASSWORD", "KUBECONFIG", "DD_API_KEY", "DD_APP_KEY", "RETRAIN_TOKEN")


@dataclass(frozen=True)
class Call:
    """A goal of make, and the values that it must be given, in the environment or as arguments."""

    goal: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Occasion:
    """What runs by itself, and what runs once a person said yes."""

    calls: list[Call]
    approved: list[Call] = field(default_factory=list)


def _delivered(env: str, **values: str) -> list[Call]:
    """Return the calls that bring an image to an environment."""
    return [
        Call("release", {"ENV": env, "COMMIT": "push", **values}),
        Call("deploy", {"ENV": env, "ON_FAILURE": "rollback"}),
    ]


CHECKS = [Call(goal) for goal in ("check", "smoke", "image", "manifests")]
PRODUCTION = _delivered("production")


def _trained(**values: str) -> list[Call]:
    return [
        Call("retrain", {"REUSE": "1", **values}),
        Call("image", {"REUSE": "1"}),
        Call("push"),
        *_delivered("staging"),
        Call("loadtest", {"HOST": STAGING_URL}),
    ]


OCCASIONS = {
    "request": Occasion(CHECKS),
    "main": Occasion([*CHECKS, *_trained()], PRODUCTION),
    "schedule": Occasion([Call("drift", {"ON_DRIFT": "retrain"})]),
    "retrain": Occasion(_trained(DATA=DATA), PRODUCTION),
    "rollback": Occasion([Call("rollback", {"ENV": "production", "NUMBER": NUMBER})]),
    "shadow": Occasion(_delivered("staging", CANDIDATE=CANDIDATE)),
}


RECORDING = """#!{python}
import json, os, sys

given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
values = {{name: os.environ[name] for name in {names} if os.environ.get(name)}} | given
with open({log!r}, "a") as log:
    for goal in (word for word in sys.argv[1:] if "=" not in word):
        print(json.dumps([goal, values]), file=log)
os.makedirs("report", exist_ok=True)
pages = "report/report.html", "report/summary.md", "report/drift.md", "loadtests/report.html"
for name in pages:
    open(name, "a").close()
with open("report/image.txt", "w") as file:
    file.write({image!r})
"""


class Recorder:
    """A `make` in the folder `bin` of `folder`, and what it was called for.

    `new`: whether it pushes an image that production does not run already.
    """

    def __init__(self, folder: Path, new: bool = True) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self._log = folder / "calls"
        names = VALUES + SECRETS
        image = "1a2b-3c4d@sha256:" + 64 * "0" if new else ""
        script = RECORDING.format(
            python=sys.executable, names=names, log=str(self._log), image=image
        )
        (self.bin / "make").write_text(script)
        (self.bin / "make").chmod(0o755)

    def calls(self) -> list[Call]:
        """Return what was called since the last time one asked."""
        if not self._log.exists():
            return []
        lines = self._log.read_text().splitlines()
        self._log.unlink()
        return [Call(*json.loads(line)) for line in lines]


def differences(made: list[Call], expected: list[Call], secrets: bool = True) -> list[str]:
    """Return in what the calls that were made are not the expected ones.

    A value that is not expected must be what make has by default, but for values that only other
    goals look at. `secrets`: whether the calls may know secrets.
    """
    goals, wanted = [call.goal for call in made], [call.goal for call in expected]
    if goals != wanted:
        return [f"runs {' '.join(goals) or 'nothing'}, expected {' '.join(wanted) or 'nothing'}"]
    found = []
    for call, right in zip(made, expected, strict=True):
        for name, value in right.values.items():
            if call.values.get(name, "") != value:
                found.append(f"{call.goal}: {name}={call.values.get(name, '')!r}, not {value!r}")
        for name in _READ.get(call.goal, ()):
            if name not in right.values and call.values.get(name):
                found.append(f"{call.goal}: {name}={call.values[name]!r}, expected none")
        if not secrets and (known := [name for name in SECRETS if call.values.get(name)]):
            found.append(f"{call.goal}: knows {' '.join(known)}")
    return found


# What goals look at, where a value that nobody expects would do harm.
_READ = {
    "check": ("DATA",),
    "retrain": ("DATA",),
    "release": ("TAG", "CANDIDATE"),
    "rollback": ("TAG",),
}
