"""make release, deploy, diff and rollback, with a kubectl that plays what a cluster would say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster import DONE, HALF, IMAGE, LATE, UNSEEN, Cluster, Json, commit, pod, put, state, waits

from tools.deploy import release, rollout
from tools.deploy.__main__ import main
from tools.deploy.builder import _pip_conf
from tools.deploy.image import _origin
from tools.deploy.service import NAME, ROOT, DeployError
from tools.deploy.tags import commit as of_source
from training.package import _source


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


DIGEST = f"@sha256:{64 * '0'}"
REFUSED = "refusing to start: artifact/model.joblib: sha256 1… (3 bytes), but the manifest says 2…"
PROBE = "Readiness probe failed: HTTP probe failed with statuscode: 503"


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


@pytest.mark.parametrize(
    "tag",
    ["-a", ".a", "a b", "a:b", "a/b", "a\n", "é", "a" * 129]
    + ["1-a@sha256:12", f"1-a@sha256:{'G' * 64}", f"1-a@sha256:{'0' * 65}", f"@sha256:{'0' * 64}"],
)
def test_tag_that_no_image_can_have(tag: str) -> None:
    for tags in ((tag, ""), ("1-a", tag)):
        with pytest.raises(DeployError, match="expected an image's tag"):
            release.render("staging", *tags)


@pytest.mark.parametrize(
    ("tag", "version"),
    [("0ed6-1a2b", "0ed6"), ("1", "1"), ("_v1.2_-x", "v1.2"), ("a" * 128, "a" * 63), ("_-", "")]
    + [(f"0ed6-1a2b{DIGEST}", "0ed6"), (f"v1{DIGEST}", "v1")],
)
def test_version_is_a_label(tag: str, version: str) -> None:
    text = release.render("staging", tag)
    assert text.count(f'tags.datadoghq.com/version: "{version}"\n') == 2
    assert f':{tag}"\n' in text
    assert release.tags(text) == [tag]


def test_release_without_a_tag(overlays: Path) -> None:
    ask = partial(release.chosen, "staging", "")
    for candidate in ("2-b", "none"):
        with pytest.raises(DeployError, match="nothing is released to staging yet: make release"):
            ask(candidate)
    # What `make push` noted.
    noted = overlays.parents[1] / "report" / "image.txt"
    noted.parent.mkdir()
    noted.write_text(f"1-a{DIGEST}\n")
    release.write("staging", ask(""))
    assert release.released("staging") == [f"1-a{DIGEST}"]
    # A candidate beside what is live, and away again.
    release.write("staging", ask(f"2-b{DIGEST}"))
    assert release.released("staging") == [f"1-a{DIGEST}", f"2-b{DIGEST}"]
    # There was nothing new to push.
    noted.write_text("")
    assert ask("") == release.render("staging", f"1-a{DIGEST}", f"2-b{DIGEST}")
    assert release.tags(ask("none")) == [f"1-a{DIGEST}"]
    noted.write_text("what is this?")
    with pytest.raises(DeployError, match="TAG=what is this.: expected an image's tag"):
        ask("")


@pytest.mark.parametrize(
    ("tag", "candidate", "is_it"),
    [("", "", True), ("1-a", "2-b", True), ("", "2-b", True), ("1-a", "", True)]
    + [("3-c", "", False), ("", "none", False), ("", "3-c", False)],
)
def test_values_of_make_release_deploy(
    overlays: Path, tag: str, candidate: str, is_it: bool
) -> None:
    """`make release deploy TAG=...` hands them to both, and deploy to what is released only."""
    put("1-a", "2-b")
    assert release.is_released("staging", tag, candidate) is is_it


def test_a_digest_is_another_release(overlays: Path) -> None:
    put("1-a")
    commit(overlays)
    put(f"1-a{DIGEST}")
    assert release.tags(release.before("staging")) == ["1-a"]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run([*command], cwd=ROOT, env=env | variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "env", "tag", "reason"),
    [
        ("release", "", "1-a", "ENV=: there is production and staging, in k8s/overlays"),
        ("release", "", "", "ENV=: there is production and staging, in k8s/overlays"),
        ("deploy", "../staging", "", "ENV=../staging: there is production and"),
        ("release", "staging", "", "no TAG is said, and report/image.txt does not say what was"),
        ("deploy", "staging", "1-a", "nothing is released to staging yet: make release ENV=st"),
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


def test_a_release_leaves_the_source_of_an_image_as_it_was(
    overlays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.package.ROOT", overlays.parents[1])
    (overlays.parents[1] / "service.toml").touch()
    commit(overlays)
    clean = of_source()
    put("1-a")
    assert re.fullmatch("[0-9a-f]{8}", clean) and of_source() == clean
    # From which `make promote` says the tag, without the image.
    assert str(_source().git_sha).startswith(clean) and _source().dirty is False
    # Committed, the release needs no other images either.
    commit(overlays)
    assert of_source() == clean and str(_source().git_sha).startswith(clean)
    (overlays.parents[1] / "model.py").touch()
    assert of_source() == f"{clean}-dirty" and _source().dirty is True


@pytest.mark.parametrize(
    ("revision", "sha", "dirty"),
    [("f" * 40, "f" * 40, False), ("f" * 40 + "-dirty", "f" * 40, True), ("nogit", None, None)]
    + [("", None, None)],
)
def test_the_image_that_trains_knows_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str, sha: str | None, dirty: Any
) -> None:
    monkeypatch.setattr("training.package.ROOT", tmp_path)
    monkeypatch.setenv("REVISION", revision)
    found = _source()
    assert (found.git_sha, found.dirty) == (sha, dirty)


def test_a_neighbour_in_the_repository_is_not_in_the_image(
    overlays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = overlays.parents[1] / "service"
    service.mkdir()
    (service / "model.py").touch()
    monkeypatch.setattr("training.package.ROOT", service)
    monkeypatch.setattr("tools.deploy.service.ROOT", service)
    commit(overlays)
    clean = of_source()
    (overlays.parents[1] / "neighbour.py").touch()
    assert of_source() == clean and _source().dirty is False
    commit(overlays)
    assert of_source() == clean and str(_source().git_sha).startswith(clean)


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
