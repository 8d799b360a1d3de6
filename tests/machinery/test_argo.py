"""With Argo CD: make deploy waits for it, and the way back is a commit."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from cluster import DONE, HALF, Cluster, Json, put, run, state, waits
from forge import FILE, Forge, git

from tools.deploy import argo, rollout
from tools.deploy.service import NAME, ROOT, DeployError


def application(
    revision: str = "", status: str = "Synced", last: Json | None = None, error: str = ""
) -> Json:
    conditions = [{"type": "ComparisonError", "message": error}] if error else []
    sync = {"status": status, "revision": revision}
    return {"status": {"sync": sync, "operationState": last or {}, "conditions": conditions}}


def operation(phase: str, revision: str, message: str) -> Json:
    return {"phase": phase, "message": message, "syncResult": {"revision": revision}}


def head(forge: Forge) -> str:
    return git(forge.origin, "rev-parse", "main")


@pytest.fixture
def pushed(cluster: Cluster, forge: Forge, call: pytest.MonkeyPatch) -> str:
    """A release that is pushed; the commit before it."""
    before = head(forge)
    call.setenv("COMMIT", "push")
    call.setenv("TAG", "2-b")
    assert run("release") == ""
    return before


def test_deploy_waits_and_applies_nothing(
    cluster: Cluster, forge: Forge, pushed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.has_argo(
        application(pushed),
        application(pushed),
        application(head(forge), "OutOfSync"),
        application(head(forge)),
    )
    cluster.plays(state(HALF), state(DONE))
    rollout.Place("staging").deploy()
    said = capsys.readouterr().out
    assert [line.split("s  ")[1] for line in said.splitlines() if " s  " in line] == [
        f"Argo CD: Synced at {pushed[:8]}",
        f"Argo CD: OutOfSync at {head(forge)[:8]}",
        f"Argo CD: Synced at {head(forge)[:8]}",
        HALF,
        DONE,
    ]
    # Nor does it remove a candidate: that is for Argo CD to prune.
    assert not cluster.applied() and not cluster.calls("delete")


def test_a_later_commit_holds_this_one(cluster: Cluster, forge: Forge, pushed: str) -> None:
    forge.push("notes", "of a colleague")
    cluster.has_argo(application(head(forge)))
    cluster.plays(state(DONE))
    rollout.Place("staging").deploy()


def test_what_is_not_committed_is_not_waited_for(
    cluster: Cluster, forge: Forge, pushed: str
) -> None:
    cluster.has_argo(application(head(forge)))
    put("3-c")
    with pytest.raises(DeployError, match=f"^{FILE} is not committed, and Argo CD applies what"):
        rollout.Place("staging").deploy()


def test_argo_cd_gives_up(cluster: Cluster, forge: Forge, pushed: str) -> None:
    why = "one or more objects failed to apply"
    cluster.has_argo(
        application(pushed, "OutOfSync", operation("Failed", pushed, "of the commit before")),
        application(pushed, "OutOfSync", operation("Running", head(forge), "")),
        application(pushed, "OutOfSync", operation("Failed", head(forge), why)),
    )
    with pytest.raises(DeployError, match=f"^Argo CD cannot apply {head(forge)[:8]}: {why}$"):
        rollout.Place("staging").deploy()


@pytest.mark.parametrize(
    ("error", "why"),
    [("", "was it pushed to the branch"), ("repository not found", "repository not found$")],
)
def test_argo_cd_does_not_come(
    cluster: Cluster,
    pushed: str,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    why: str,
) -> None:
    monkeypatch.setattr("tools.deploy.argo.TIMEOUT_SECONDS", 0.1)
    cluster.has_argo(application(pushed, error=error))
    with pytest.raises(DeployError, match=f"^Argo CD did not come to [0-9a-f]{{8}}: {why}"):
        rollout.Place("staging").deploy()


def test_what_fails_is_taken_back_in_git(cluster: Cluster, forge: Forge, pushed: str) -> None:
    cluster.plays(state(HALF, waits("ImagePullBackOff", "not found")), state(DONE))
    # The way back is a commit, to which Argo CD comes too.
    cluster.has_argo(application(), follows=forge.origin)
    said = run("deploy")
    assert re.search(r"not found\nThe release before, 1-a, runs again\.$", said), said
    assert forge.subjects()[:2] == ["staging: 1-a [skip ci]", "staging: 2-b [skip ci]"]
    assert not cluster.applied()


def test_without_a_commit_there_is_no_way_back(
    cluster: Cluster, forge: Forge, pushed: str, call: pytest.MonkeyPatch
) -> None:
    call.setenv("COMMIT", "")
    cluster.plays(state(HALF, waits("ImagePullBackOff", "not found")))
    cluster.has_argo(application(head(forge)))
    assert f"did not come back: {FILE} is not committed" in run("deploy")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("error: the server doesn't have a resource type", ""),
        ("Error from server (Forbidden): applications is forbidden: User x cannot", "not be read"),
    ],
)
def test_clusters_without_argo_cd(
    answer: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def kubectl(*words: str) -> str:
        raise DeployError(f"kubectl get: {answer}")

    assert argo.application(kubectl, "staging") is None
    assert said in capsys.readouterr().out
    answer = "Unable to connect to the server"
    with pytest.raises(DeployError, match="Unable to connect"):
        argo.application(kubectl, "staging")


@pytest.mark.parametrize("env", ["staging", "production"])
def test_the_application_is_of_the_overlay(env: str) -> None:
    found: Any = yaml.safe_load((ROOT / "k8s" / "argocd" / f"{env}.yaml").read_text())
    assert found["metadata"] == {"name": f"{NAME}-{env}", "namespace": argo.NAMESPACE}
    spec = found["spec"]
    overlay = yaml.safe_load((ROOT / spec["source"]["path"] / "kustomization.yaml").read_text())
    assert spec["destination"]["namespace"] == overlay["namespace"]
    # Pods start with the settings of their own release, also while the next one is rolled out.
    (settings,) = yaml.safe_load((ROOT / "k8s" / "base" / "kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    assert "Prune=false" in settings["options"]["annotations"].values()
    # The switches of candidates, which are for the cluster: see components/shadow and ab.
    for left, component in zip(spec["ignoreDifferences"], ("shadow", "ab"), strict=True):
        text = (ROOT / "k8s" / "components" / component / "kustomization.yaml").read_text()
        (switch,) = yaml.safe_load(text)["configMapGenerator"]
        assert (left["kind"], left["name"]) == ("ConfigMap", switch["name"])
        assert left["jsonPointers"] == ["/data/percent"]
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]
