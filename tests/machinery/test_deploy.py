"""make deploy, diff and rollback, with a kubectl that plays what a cluster would say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.deploy import manifests, rollout
from tools.deploy.image import _origin
from tools.deploy.service import ROOT, DeployError, Service

NAME = Service.read().name
IMAGE = f"{Service.read().repository}:1-abc"
Json = dict[str, Any]

# Answers each `get KIND` with the next of the states it was given, the last one for ever.
KUBECTL = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = [w for w in sys.argv[1:] if w not in ("--namespace", "models-staging")]
with open(here / "calls", "a") as calls: calls.write(" ".join(words) + "\\n")
if words[0] == "config": print("a-cluster")
if words[0] == "apply": print(sys.stdin.read() and "deployment.apps/x configured")
if words[0] == "diff": print(sys.stdin.read() and "- a\\n+ b"); sys.exit(1)
if words[0] == "get":
    if words[1] == "deployment":
        at = here / "at"
        at.write_text(str(int(at.read_text() or 0) + 1 if at.exists() else 0))
    states = json.loads((here / "states").read_text())
    state = states[min(int((here / "at").read_text()), len(states) - 1)]
    found = state[words[1]]
    print(json.dumps(found if words[1] == "deployment" else {{"items": found}}))
"""


def deployment(updated: int, available: int, total: int, **status: Any) -> Json:
    return {
        "metadata": {"generation": 2, "annotations": {rollout.REVISION: "2"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": IMAGE}]}}},
        "status": {
            "observedGeneration": 2,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "replicas": total,
            **status,
        },
    }


def pod(version: str, ready: bool = False, **container: Any) -> Json:
    return {
        "metadata": {"labels": {"pod-template-hash": version}},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"image": IMAGE, **container}],
        },
    }


def state(of: Json, *pods: Json, events: list[Json] | None = None) -> Json:
    sets = [
        {"metadata": {"labels": {"pod-template-hash": v}, "annotations": {rollout.REVISION: n}}}
        for v, n in (("old", "1"), ("new", "2"))
    ]
    return {"deployment": of, "replicasets": sets, "pods": list(pods), "events": events or []}


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plays(self, *states: Json) -> None:
        (self.folder / "states").write_text(json.dumps(states))

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return Cluster(tmp_path)


def test_rollout_is_shown_until_it_is_done(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.plays(
        # The Deployment before: nothing it says counts.
        state(deployment(2, 2, 2, observedGeneration=1)),
        state(deployment(1, 2, 3), pod("old", True), pod("old", True), pod("new")),
        state(deployment(1, 2, 3), pod("old", True), pod("old", True), pod("new", True)),
        state(deployment(2, 2, 3), pod("old", True), pod("new", True), pod("new", True)),
        state(deployment(2, 2, 2), pod("new", True), pod("new", True)),
    )
    rollout.deploy(Service.read(), "staging", "manifests")
    said = capsys.readouterr().out
    assert f"{NAME} in staging: namespace models-staging of a-cluster" in said
    steps = [line.split("s  ")[1] for line in said.splitlines() if "new pods ready" in line]
    assert steps == [
        "0 of 2 new pods ready, 0 old ones left",
        "0 of 2 new pods ready, 2 old ones left",
        "1 of 2 new pods ready, 2 old ones left",
        "2 of 2 new pods ready, 1 old ones left",
        "2 of 2 new pods ready, 0 old ones left",
    ]
    assert said.endswith(f"done: {IMAGE}\n")


REFUSED = "refusing to start: artifact/model.joblib: sha256 1… (3 bytes), but the manifest says 2…"
PROBE = "Readiness probe failed: HTTP probe failed with statuscode: 503"


def waits(reason: str, message: str = "", **other: Any) -> Json:
    return pod("new", state={"waiting": {"reason": reason, "message": message}}, **other)


def ended(code: int, message: str = "", reason: str = "Error") -> Json:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def condition(kind: str, value: str, reason: str, message: str = "") -> list[Json]:
    return [{"type": kind, "status": value, "reason": reason, "message": message}]


LATE = condition("Progressing", "False", "ProgressDeadlineExceeded")
FAILURES = {
    "image": (
        state(deployment(1, 2, 3), waits("ImagePullBackOff", "not found")),
        f"the image cannot be pulled: {IMAGE}. Was it pushed, and may this cluster pull it?",
    ),
    "artifact": (
        state(deployment(1, 2, 3), pod("new", state=ended(3, f"[INFO] starting\n{REFUSED}\n"))),
        "the service refuses to start: artifact/model.joblib: sha256 1… (3 bytes), but",
    ),
    "crash": (
        state(
            deployment(1, 2, 3),
            waits("CrashLoopBackOff", lastState=ended(1, "ValueError: no such thing")),
        ),
        "the service ends with exit code 1: ValueError: no such thing",
    ),
    "memory": (
        state(deployment(1, 2, 3), pod("new", state=ended(137, reason="OOMKilled"))),
        "took more memory than its limit",
    ),
    "quota": (
        state(
            deployment(
                0,
                2,
                2,
                conditions=condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: q"),
            )
        ),
        "the namespace's quota allows no more pods: exceeded quota: q",
    ),
    "probe": (
        state(
            deployment(1, 2, 3, conditions=LATE),
            pod("new"),
            events=[
                {"type": "Warning", "reason": "BackOff", "lastTimestamp": "1", "message": "old"},
                {"type": "Warning", "reason": "Unhealthy", "lastTimestamp": "2", "message": PROBE},
                {"type": "Normal", "reason": "Pulled", "lastTimestamp": "3", "message": "done"},
            ],
        ),
        f"the pods run, but are not found well: {PROBE}",
    ),
    "silence": (state(deployment(1, 2, 3, conditions=LATE), pod("new")), "no pod became ready"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failure_is_explained(cluster: Cluster, kind: str) -> None:
    found, reason = FAILURES[kind]
    cluster.plays(state(deployment(2, 2, 2, observedGeneration=1, conditions=LATE)), found)
    with pytest.raises(DeployError) as caught:
        rollout.deploy(Service.read(), "staging", "manifests")
    assert reason in str(caught.value)
    assert "2 pods answer callers, as before" in str(caught.value)
    assert "make rollback ENV=staging" in str(caught.value)


def test_old_pods_that_end_are_no_failure(cluster: Cluster) -> None:
    cluster.plays(
        state(deployment(2, 2, 3), pod("old", state=ended(137)), pod("new", True)),
        state(deployment(2, 2, 2), pod("new", True), pod("new", True)),
    )
    rollout.deploy(Service.read(), "staging", "manifests")


def test_rollback(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.plays(state(deployment(2, 2, 2), pod("new", True)))
    rollout.undo(Service.read(), "staging")
    assert f"rollout undo deployment/{NAME}" in cluster.calls
    assert f"back from {IMAGE}" in capsys.readouterr().out


def test_diff_shows_and_changes_nothing(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.plays()
    rollout.diff(Service.read(), "staging", "manifests")
    assert "+ b" in capsys.readouterr().out
    assert not [call for call in cluster.calls if call.startswith("apply")]


@pytest.mark.parametrize(
    ("env", "tag", "candidate", "reason"),
    [
        ("", "1-a", "", "ENV=: there is production and staging, in k8s/overlays"),
        ("../staging", "1-a", "", "ENV=../staging: there is"),
        ("staging", "", "", "TAG=: expected an image's tag"),
        ("staging", "a b", "", "TAG=a b: expected"),
        ("staging", "1-a", "x:y", "CANDIDATE=x:y: expected"),
    ],
)
def test_wrong_words_are_refused(env: str, tag: str, candidate: str, reason: str) -> None:
    command = [sys.executable, "-m", "tools.deploy", "deploy", env, tag, candidate]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"\nnot done: {reason}")
    assert "Traceback" not in done.stderr


def test_without_kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeployError, match="kubectl is missing"):
        manifests.render(Service.read(), "staging", "1-a")


def test_label_of_the_source_holds_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://me:secret@example.com/team/repo.git"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", url], check=True)
    monkeypatch.setattr("tools.deploy.image.ROOT", tmp_path)
    assert _origin() == "https://example.com/team/repo.git"
