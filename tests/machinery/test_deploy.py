"""make release, deploy, diff and rollback, with a kubectl that plays what a cluster would say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.deploy import release, rollout
from tools.deploy.__main__ import main
from tools.deploy.image import _commit, _origin, _pip_conf
from tools.deploy.service import NAME, REPOSITORY, ROOT, DeployError

IMAGE = f"{REPOSITORY}:1-abc"
Json = dict[str, Any]

# Answers each `rollout status` and the `get KIND` after it by the next of the states it was given,
# and by the last one for ever.
KUBECTL = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[3:] if sys.argv[1] == "--namespace" else sys.argv[1:]
with open(here / "calls", "a") as calls: calls.write(" ".join(words) + "\\n")
if words[0] == "config": print("a-cluster")
if words[0] == "apply": print("deployment.apps/x configured\\nservice/x unchanged")
if words[0] == "diff": print("- a\\n+ b"); sys.exit(1)
if words[0] in ("rollout", "get") and "--ignore-not-found" not in words:
    at = here / "at"
    if words[0] == "rollout": at.write_text(str(int(at.read_text()) + 1 if at.exists() else 0))
    states = json.loads((here / "states").read_text())
    state = states[min(int(at.read_text()), len(states) - 1)]
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


def state(
    said: str, *pods: Json, events: list[Json] | None = None, conditions: list[Json] | None = None
) -> Json:
    """Return what kubectl says of a rollout from revision 1 to 2, and of all that is part of it."""
    sets = [
        {
            "kind": "ReplicaSet",
            "metadata": {"labels": {"pod-template-hash": v}, "annotations": {rollout.REVISION: n}},
        }
        for v, n in (("old", "1"), ("new", "2"))
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

    def calls(self, first: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith(f"{first} ")]


@pytest.fixture
def overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The overlays of a service in git, of which a test may release to one."""
    folder = tmp_path / "service"
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    for module in ("release.ROOT", "service.ROOT", "rollout.ROOT", "image.ROOT"):
        monkeypatch.setattr(f"tools.deploy.{module}", folder)
    monkeypatch.setattr("tools.deploy.release.OVERLAYS", folder / "k8s" / "overlays")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder / "k8s" / "overlays"


@pytest.fixture
def cluster(tmp_path: Path, overlays: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    put("1-abc")
    yield Cluster(tmp_path)


def put(tag: str, candidate: str = "", env: str = "staging") -> None:
    release.write(env, release.render(env, tag, candidate))


def commit(overlays: Path) -> None:
    git = ["git", "-C", str(overlays), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "release"], check=True)


def test_rollout_is_shown_until_it_is_done(
    cluster: Cluster, overlays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.plays(
        # Until Kubernetes has seen the new one, nothing of the rollout before counts.
        state(UNSEEN, waits("ImagePullBackOff")),
        state(HALF, pod("old"), pod("old"), pod("new")),
        state(HALF, pod("old"), pod("new"), pod("new")),
        state(DONE, pod("new"), pod("new")),
    )
    rollout.Place("staging").deploy()
    said = capsys.readouterr().out
    assert f"{NAME} in staging: namespace models-staging of a-cluster" in said
    assert "x configured" in said and "unchanged" not in said
    assert [line.split("s  ")[1] for line in said.splitlines() if " s  " in line] == [
        UNSEEN,
        HALF,
        DONE,
    ]
    assert said.endswith(f"done: {IMAGE}\n")
    assert cluster.calls("apply") == [f"apply -k {overlays}/staging"]


def test_candidate_that_is_released_no_more_is_removed(cluster: Cluster) -> None:
    cluster.plays(state(DONE))
    put("1-abc", "2-b")
    rollout.Place("staging").deploy()
    assert cluster.calls("delete") == []
    put("1-abc")
    rollout.Place("staging").deploy()
    kinds = "deployment,service,networkpolicy,configmap"
    assert cluster.calls("delete") == [f"delete {kinds} --selector app={NAME}-candidate"]


REFUSED = "refusing to start: artifact/model.joblib: sha256 1… (3 bytes), but the manifest says 2…"
PROBE = "Readiness probe failed: HTTP probe failed with statuscode: 503"


def waits(reason: str, message: str = "", **other: Any) -> Json:
    return pod("new", state={"waiting": {"reason": reason, "message": message}}, **other)


def ended(code: int, message: str = "", reason: str = "Error") -> Json:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def condition(kind: str, value: str, reason: str, message: str = "") -> list[Json]:
    return [{"type": kind, "status": value, "reason": reason, "message": message}]


FAILURES = {
    "image": (
        state(HALF, waits("ImagePullBackOff", "not found")),
        f"the image cannot be pulled: {IMAGE}. Was it pushed, and may this cluster pull it?",
    ),
    "artifact": (
        state(HALF, pod("new", state=ended(3, f"[INFO] starting\n{REFUSED}\n"))),
        "the service refuses to start: artifact/model.joblib: sha256 1… (3 bytes), but",
    ),
    "crash": (
        state(
            HALF,
            waits("CrashLoopBackOff", lastState=ended(1, "ValueError: no such thing")),
        ),
        "the service ends with exit code 1: ValueError: no such thing",
    ),
    "memory": (
        state(HALF, pod("new", state=ended(137, reason="OOMKilled"))),
        "took more memory than its limit",
    ),
    "quota": (
        state(
            HALF,
            conditions=condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: q"),
        ),
        "the namespace's quota allows no more pods: exceeded quota: q",
    ),
    "probe": (
        state(
            LATE,
            pod("new"),
            events=[
                {"type": "Warning", "reason": "BackOff", "lastTimestamp": "1", "message": "old"},
                {"type": "Warning", "reason": "Unhealthy", "lastTimestamp": "2", "message": PROBE},
                {"type": "Normal", "reason": "Pulled", "lastTimestamp": "3", "message": "done"},
            ],
        ),
        f"the pods run, but are not found well: {PROBE}",
    ),
    "silence": (state(LATE, pod("new")), "no pod became ready"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failure_is_explained(cluster: Cluster, kind: str) -> None:
    found, reason = FAILURES[kind]
    cluster.plays(state(UNSEEN), found)
    with pytest.raises(DeployError) as caught:
        rollout.Place("staging").deploy()
    assert reason in str(caught.value)
    assert "2 pods answer callers, as before" in str(caught.value)
    assert "make rollback ENV=staging" in str(caught.value)


def test_old_pods_that_end_are_no_failure(cluster: Cluster) -> None:
    gone = pod("new", state=ended(137)) | {"metadata": {"labels": {}, "deletionTimestamp": "now"}}
    gone["metadata"]["labels"]["pod-template-hash"] = "new"
    cluster.plays(state(HALF, pod("old", state=ended(137)), gone, pod("new")), state(DONE))
    rollout.Place("staging").deploy()


def test_rollback_releases_what_was_before_and_deploys_it(
    cluster: Cluster,
    overlays: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit(overlays)
    put("2-def")
    monkeypatch.setattr(sys, "argv", ["deploy", "rollback"])
    monkeypatch.setenv("ENV", "staging")
    playing = (cluster.folder / "kubectl").read_text()
    (cluster.folder / "kubectl").write_text("#!/bin/sh\necho 'no such host' >&2\nexit 1\n")
    with pytest.raises(SystemExit, match="not done: kubectl config: no such host"):
        main()
    # So that one may try again without going back twice.
    assert release.released("staging") == ["2-def"]
    (cluster.folder / "kubectl").write_text(playing)
    cluster.plays(state(DONE))
    main()
    assert release.released("staging") == ["1-abc"]
    assert len(cluster.calls("apply")) == 1
    said = capsys.readouterr().out
    assert "released to staging: 1-abc\n" in said and said.endswith(f"done: {IMAGE}\n")


def test_diff_shows_and_changes_nothing(
    cluster: Cluster, overlays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.plays()
    rollout.Place("staging").diff()
    assert "+ b" in capsys.readouterr().out
    assert cluster.calls("diff") == [f"diff -k {overlays}/staging"]
    assert not cluster.calls("apply")


def test_nothing_is_released_to_a_new_service(overlays: Path) -> None:
    for env in ("staging", "production"):
        file = overlays / env / "release" / "kustomization.yaml"
        # It has the form that `make release` writes, so that its history starts there.
        assert file.read_text() == release.render(env, release.UNRELEASED)
        with pytest.raises(DeployError, match=f"nothing is released to {env} yet: make rel"):
            rollout.Place(env)
        # A service that was made before there were releases.
        shutil.rmtree(file.parent)
        with pytest.raises(DeployError, match=f"nothing is released to {env} yet: make rel"):
            release.released(env)
        put("1-abc", env=env)
        assert release.released(env) == ["1-abc"]


def test_release_back_through_the_history(overlays: Path) -> None:
    unknown = pytest.raises(DeployError, match="git knows no release to staging before this one")
    put("1-a")
    with unknown:
        release.before("staging")  # nothing is committed
    commit(overlays)
    with unknown:
        release.before("staging")
    put("2-b", "3-c")
    assert release.tags(release.before("staging")) == ["1-a"]  # from one that is not committed
    commit(overlays)
    assert release.tags(release.before("staging")) == ["1-a"]
    put("4-d")
    before = release.before("staging")
    assert before == release.render("staging", "2-b", "3-c")
    # And on from there: twice back is two releases back.
    release.write("staging", before)
    assert release.tags(release.before("staging")) == ["1-a"]


def test_overlay_without_its_release(overlays: Path) -> None:
    file = overlays / "staging" / "kustomization.yaml"
    file.write_text(file.read_text().replace("  - release\n", ""))
    with pytest.raises(DeployError, match="does not take the release in: put `- release` first"):
        put("1-a")


@pytest.mark.parametrize("tag", ["-a", ".a", "a b", "a:b", "a/b", "a\n", "é", "a" * 129])
def test_tag_that_no_image_can_have(tag: str) -> None:
    for tags in ((tag, ""), ("1-a", tag)):
        with pytest.raises(DeployError, match="expected an image's tag"):
            release.render("staging", *tags)


@pytest.mark.parametrize(
    ("tag", "version"),
    [("0ed6-1a2b", "0ed6"), ("1", "1"), ("_v1.2_-x", "v1.2"), ("a" * 128, "a" * 63), ("_-", "")],
)
def test_version_is_a_label(tag: str, version: str) -> None:
    text = release.render("staging", tag)
    assert text.count(f'tags.datadoghq.com/version: "{version}"\n') == 2
    assert f':{tag}"\n' in text


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run([*command], cwd=ROOT, env=env | variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "env", "tag", "reason"),
    [
        ("release", "", "1-a", "ENV=: there is production and staging, in k8s/overlays"),
        ("deploy", "../staging", "", "ENV=../staging: there is production and"),
        ("release", "staging", "", "TAG=: expected an image's tag"),
        ("deploy", "staging", "1-a", "make deploy takes no tag, but what is released: make rel"),
        ("rollback", "staging", "1-a", "make rollback takes no tag, but what is rel"),
        ("diff", "staging", "", "nothing is released to staging yet: make release ENV=staging"),
    ],
)
def test_one_line_says_what_is_wrong(command: str, env: str, tag: str, reason: str) -> None:
    done = run(sys.executable, "-m", "tools.deploy", command, ENV=env, TAG=tag)
    assert done.returncode == 1
    assert done.stderr.startswith(f"\nnot done: {reason}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "value", ["$(shell touch {})", "$$(touch {})", "'; touch {}; '", "`touch {}`"]
)
@pytest.mark.parametrize("name", ["ENV", "TAG", "CANDIDATE"])
def test_values_are_not_run(name: str, value: str, tmp_path: Path) -> None:
    word = value.format(tmp_path / "run")
    values = {"ENV": "staging", "TAG": "1-a", "CANDIDATE": ""} | {name: word}
    python = f"PYTHON={sys.executable}"
    for done in (
        run("make", "release", python, *(f"{key}={text}" for key, text in values.items())),
        run("make", "release", python, **values),
    ):
        assert done.returncode == 2
        assert f"not done: {name}={word}: " in done.stderr
    assert not (tmp_path / "run").exists()


def test_without_kubectl(overlays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("1-a")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeployError, match="kubectl is missing"):
        rollout.Place("staging").deploy()


def test_label_of_the_source_holds_no_password(overlays: Path) -> None:
    url = "https://me:secret@example.com/team/repo.git"
    subprocess.run(["git", "-C", overlays, "remote", "add", "origin", url], check=True)
    assert _origin() == "https://example.com/team/repo.git"


def test_a_release_leaves_the_source_of_an_image_as_it_was(overlays: Path) -> None:
    commit(overlays)
    clean = _commit()
    put("1-a")
    assert re.fullmatch("[0-9a-f]{8}", clean) and _commit() == clean
    (overlays.parents[1] / "model.py").touch()
    assert _commit() == f"{clean}-dirty"


def test_the_build_gets_the_pip_settings_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert _pip_conf() == []
    monkeypatch.delenv("PIP_CONFIG_FILE")
    assert _pip_conf() == []
    file = tmp_path / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.touch()
    assert _pip_conf() == ["--secret", f"id=pip.conf,src={file}"]
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "mine"))
    (tmp_path / "mine").touch()
    assert _pip_conf() == ["--secret", f"id=pip.conf,src={tmp_path}/mine"]
