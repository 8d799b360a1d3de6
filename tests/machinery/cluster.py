"""A kubectl that plays what a cluster would say, and a service's overlays to release to."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from tools.deploy import release, rollout
from tools.deploy.__main__ import main
from tools.deploy.service import NAME, REPOSITORY

IMAGE = f"{REPOSITORY}:1-abc"
Json = dict[str, Any]

# Answers each `rollout status` and the `get KIND` after it by the next of the states it was given,
# and by the last one for ever; of Argo CD it knows nothing, unless it was given what that says.
KUBECTL = f"""#!{sys.executable}
import json, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
words = sys.argv[3:] if sys.argv[1] == "--namespace" else sys.argv[1:]
with open(here / "calls", "a") as calls: calls.write(" ".join(words) + "\\n")
if words[0] == "config": print("a-cluster")
if words[0] == "apply":
    release = pathlib.Path(words[2], "release", "kustomization.yaml").read_text()
    with open(here / "applied", "a") as applied: applied.write(json.dumps(release) + "\\n")
    print("deployment.apps/x configured\\nservice/x unchanged")
if words[:2] == ["get", "applications.argoproj.io"]:
    given = here / "argo"
    if not given.exists(): sys.exit("error: the server doesn't have a resource type")
    first, *others = json.loads(given.read_text())
    given.write_text(json.dumps(others or [first]))
    if (here / "follows").exists():
        head = ["git", "-C", (here / "follows").read_text(), "rev-parse", "main"]
        first["status"]["sync"]["revision"] = subprocess.check_output(head, text=True).strip()
    print(json.dumps(first) if first else "")
    sys.exit(0)
if words[0] == "diff": print("- a\\n+ b"); sys.exit(1)
if words[0] in ("rollout", "get") and "--ignore-not-found" not in words:
    at = here / "at"
    if words[0] == "rollout": at.write_text(str(int(at.read_text()) + 1 if at.exists() else 0))
    states = json.loads((here / "states").read_text())
    state = states[min(int(at.read_text()) if at.exists() else 0, len(states) - 1)]
    if words[:2] == ["get", "deployment"]:
        print(json.dumps(state["deployment"]))
    elif words[0] == "get":
        print(json.dumps({{"items": sum((state[kind] for kind in words[1].split(",")), [])}}))
    elif "exceeded" in state["said"]: sys.exit("error: " + state["said"])
    else: print(state["said"])
"""
WAITING = f'Waiting for deployment "{NAME}" '
UNSEEN = f"{WAITING}spec update to be observed..."
HALF = f"{WAITING}rollout to finish: 1 out of 2 new replicas have been updated..."
DONE = f'deployment "{NAME}" successfully rolled out'
LATE = f'deployment "{NAME}" exceeded its progress deadline'


def pod(version: str, **container: Any) -> Json:
    return {
        "kind": "Pod",
        "metadata": {"labels": {"pod-template-hash": version}},
        "status": {"containerStatuses": [{"image": IMAGE, **container}]},
    }


def waits(reason: str, message: str = "", **other: Any) -> Json:
    return pod("new", state={"waiting": {"reason": reason, "message": message}}, **other)


def state(
    said: str,
    *pods: Json,
    events: list[Json] | None = None,
    conditions: list[Json] | None = None,
    runs: str = IMAGE,
) -> Json:
    """Return what kubectl says of a rollout from revision 1 to 2, and of all that is part of it.

    `runs`: the image that answers callers.
    """
    sets = [
        {
            "kind": "ReplicaSet",
            "metadata": {"labels": {"pod-template-hash": v}, "annotations": {rollout.REVISION: n}},
            "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
            "status": {"availableReplicas": ready},
        }
        for v, n, image, ready in (("old", "1", runs, 2), ("new", "2", f"{REPOSITORY}:2-b", 0))
    ]
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": NAME, "annotations": {rollout.REVISION: "2"}},
        "status": {"availableReplicas": 2, "conditions": conditions or []},
    }
    return {
        "said": said,
        "deployment": deployment,
        "replicasets": sets,
        "pods": list(pods),
        "events": events or [],
    }


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plays(self, *states: Json) -> None:
        (self.folder / "states").write_text(json.dumps(states))

    def has_argo(self, *applications: Json, follows: Path | None = None) -> None:
        """Say what is answered, one after the other, to who asks for the Application.

        `follows`: a repository, whose main the Application is always at.
        """
        (self.folder / "argo").write_text(json.dumps(applications))
        if follows:
            (self.folder / "follows").write_text(str(follows))

    def applied(self) -> list[list[str]]:
        """Return the tags that were released at each `apply`."""
        if not (self.folder / "applied").exists():
            return []
        lines = (self.folder / "applied").read_text().splitlines()
        return [release.tags(json.loads(line)) for line in lines]

    def calls(self, first: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith(f"{first} ")]


def put(tag: str, candidate: str = "", env: str = "staging") -> None:
    release.write(env, release.render(env, tag, candidate))


def commit(overlays: Path) -> None:
    git = ["git", "-C", str(overlays), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "release"], check=True)


def run(command: str) -> str:
    """Return why `python -m tools.deploy COMMAND` failed; nothing if it did not."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        patch.setattr(sys, "argv", ["deploy", command])
        try:
            main()
        except SystemExit as error:
            return error.code if isinstance(error.code, str) else said.getvalue().rstrip()
    return ""
