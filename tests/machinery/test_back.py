"""Ways back: by itself when a rollout fails, by a deployment's number, and by git revert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cluster import DONE, HALF, Cluster, commit, put, run, state, waits
from forge import FILE, Forge, git
from pipeline.records import Deployment
from pipeline.store import Store

from tools.deploy import release
from tools.deploy.service import REPOSITORY

NOT_PULLED = state(HALF, waits("ImagePullBackOff", "not found"))


def test_what_fails_is_replaced_by_what_ran_before(
    cluster: Cluster, overlays: Path, call: pytest.MonkeyPatch
) -> None:
    commit(overlays)
    put("2-b", "3-c")
    cluster.plays(NOT_PULLED, state(HALF), state(DONE))
    assert re.fullmatch(
        r"\nnot done: the image cannot be pulled: .*not found\n"
        r"The release before, 1-abc, runs again\.",
        run("deploy"),
    )
    assert cluster.applied() == [["2-b", "3-c"], ["1-abc"]]
    assert release.released("staging") == ["1-abc"]
    # The candidate that came with it goes with it.
    assert len(cluster.calls("delete")) == 1


def test_what_ran_already_is_not_taken_back(
    cluster: Cluster, overlays: Path, call: pytest.MonkeyPatch
) -> None:
    """Such as when there was nothing new to release, and the cluster does not answer."""
    commit(overlays)
    put("2-b")
    broken = waits("ImagePullBackOff", "not found")
    cluster.plays(state(HALF, broken, runs=f"{REPOSITORY}:2-b"))
    assert "2 pods answer callers, as before. To take this back: make rollback" in run("deploy")
    assert cluster.applied() == [["2-b"]]


def test_after_a_rollback_that_fails_the_later_release_comes_back(
    cluster: Cluster, overlays: Path, call: pytest.MonkeyPatch
) -> None:
    commit(overlays)
    put("2-b")
    commit(overlays)
    put("1-abc")  # as `make rollback` without COMMIT leaves it
    runs = f"{REPOSITORY}:2-b"
    cluster.plays(state(HALF, waits("ImagePullBackOff", "not found"), runs=runs), state(DONE))
    assert "The release before, 2-b, runs again." in run("deploy")


def test_the_first_deployment_has_nothing_to_come_back(
    cluster: Cluster, call: pytest.MonkeyPatch
) -> None:
    cluster.plays(state(HALF, waits("ImagePullBackOff", "not found"), runs=""))
    assert run("deploy").endswith(
        "not found\nNothing was released to staging before this, so nothing can come back."
    )
    assert cluster.applied() == [["1-abc"]]


def test_what_was_before_fails_too(
    cluster: Cluster, overlays: Path, call: pytest.MonkeyPatch
) -> None:
    commit(overlays)
    put("2-b")
    cluster.plays(NOT_PULLED)
    assert re.search(
        r"not found\nThe release before, 1-abc, did not come back: the image cannot be pulled: "
        r".*2 pods answer callers, as before. To take this back: make rollback ENV=staging$",
        run("deploy"),
        re.DOTALL,
    )
    assert len(cluster.applied()) == 2


def test_nothing_comes_back_unless_it_is_asked_for(
    cluster: Cluster, overlays: Path, call: pytest.MonkeyPatch
) -> None:
    commit(overlays)
    put("2-b")
    cluster.plays(NOT_PULLED)
    call.setenv("ON_FAILURE", "")
    assert "To take this back: make rollback ENV=staging" in run("deploy")
    assert cluster.applied() == [["2-b"]]
    call.setenv("ON_FAILURE", "yes")
    assert "ON_FAILURE=yes: expected rollback, or nothing" in run("deploy")


def test_git_says_what_came_back(cluster: Cluster, call: pytest.MonkeyPatch, forge: Forge) -> None:
    call.setenv("COMMIT", "push")
    call.setenv("TAG", "2-b")
    assert run("release") == ""
    cluster.plays(NOT_PULLED, state(DONE))
    assert run("deploy").endswith("The release before, 1-a, runs again.")
    assert cluster.applied() == [["2-b"], ["1-a"]]
    assert forge.subjects()[:2] == ["staging: 1-a [skip ci]", "staging: 2-b [skip ci]"]
    # What runs is more important than what git says of it.
    assert run("release") == ""
    forge.hook("pre-receive", "echo no >&2; exit 1")
    (cluster.folder / "at").unlink()
    assert run("deploy").endswith("1-a, runs again, but git does not say so: git push: no")


def test_rollback_is_a_commit_too(cluster: Cluster, call: pytest.MonkeyPatch, forge: Forge) -> None:
    cluster.plays(state(DONE))
    forge.push(FILE, release.render("staging", "2-b"))  # by another job
    call.setenv("COMMIT", "push")
    assert run("rollback") == ""
    assert forge.released() == ["1-a"] and cluster.applied() == [["1-a"]]
    # 2-b was taken back, so it is not where a second rollback goes.
    assert "git knows no release to staging before this one" in run("rollback")
    git(forge.colleague, "pull", "-q", "--rebase")
    forge.push(FILE, release.render("staging", "3-c"))
    forge.push(FILE, release.render("staging", "4-d"))
    for before in ("3-c", "1-a"):
        assert run("rollback") == ""
        assert forge.released() == [before]
    call.setenv("COMMIT", "branch")
    assert "COMMIT=branch: a rollback waits for no pull request" in run("rollback")


def test_rollback_to_a_deployment_of_the_record(
    cluster: Cluster, call: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster.plays(state(DONE))
    call.setenv("STORE", str(tmp_path / "stroe"))
    call.setenv("NUMBER", "17")
    assert "stroe: there is no such folder; make train makes it" in run("rollback")
    store = Store(str(tmp_path / "store"))
    call.setenv("STORE", str(tmp_path / "store"))
    assert run("rollback").endswith("not done: NUMBER=17: staging had no deployment")
    for number in range(1, 8):
        tag = f"{number}-a@sha256:{64 * 'f'}"
        made = Deployment("staging", number, f"{number}", "run", tag, "Ann", f"2026-11-0{number}T")
        store.put_record(f"deployments/staging/{number:06}.json", made)
    assert run("rollback").endswith(
        "NUMBER=17: staging had 3 (3, 2026-11-03), 4 (4, 2026-11-04), 5 (5, 2026-11-05), "
        "6 (6, 2026-11-06), 7 (7, 2026-11-07)"
    )
    assert cluster.applied() == []
    call.setenv("NUMBER", "2")
    assert run("rollback") == ""
    assert cluster.applied() == [[f"2-a@sha256:{64 * 'f'}"]]


def test_git_revert_is_a_rollback(
    cluster: Cluster, overlays: Path, call: pytest.MonkeyPatch
) -> None:
    commit(overlays)
    put("2-b")
    commit(overlays)
    cluster.plays(state(DONE))
    assert run("deploy") == ""
    git(overlays.parents[1], "revert", "--no-edit", "HEAD")
    assert run("deploy") == ""
    assert cluster.applied() == [["2-b"], ["1-abc"]]
