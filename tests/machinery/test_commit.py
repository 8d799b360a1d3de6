"""COMMIT=push and COMMIT=branch, with a real git and what others push meanwhile."""

from __future__ import annotations

import subprocess

import pytest
from cluster import commit
from forge import FILE, Forge, git

from tools.deploy import commit as committing
from tools.deploy import release
from tools.deploy.service import NAME, DeployError


def give(tag: str, how: str = "push", candidate: str = "") -> None:
    committing.put("staging", lambda: release.chosen("staging", tag, candidate), how)


def test_a_release_is_a_commit_of_one_file(
    forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    (forge.job / "model.py").write_text("edited, and not yet committed")
    git(forge.job, "add", "model.py")
    give(f"2-b@sha256:{64 * '0'}")
    assert forge.released() == [f"2-b@sha256:{64 * '0'}"]
    assert forge.subjects()[0] == "staging: 2-b [skip ci]"
    assert git(forge.origin, "show", "--format=%an", "--name-only").split() == [NAME, FILE]
    assert git(forge.job, "status", "--porcelain") == "A  model.py"
    # What is deployed next is this commit.
    assert git(forge.job, "rev-parse", "HEAD") == git(forge.origin, "rev-parse", "main")
    assert "released to staging: 2-b@sha256:" in capsys.readouterr().out


def test_the_same_release_again_is_no_failure(
    forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    give("1-a")
    assert forge.subjects() == ["release"]
    assert "main has it already" in capsys.readouterr().out


@pytest.mark.parametrize("depth", [False, True])
def test_what_others_pushed_comes_first(forge: Forge, depth: bool) -> None:
    if depth:  # as CI systems clone
        subprocess.run(["rm", "-rf", forge.job / ".git"], check=True)
        git(forge.job, "init", "-q")
        git(forge.job, "remote", "add", "origin", f"file://{forge.origin}")
        git(forge.job, "fetch", "-q", "--depth=1", "origin", "main")
        git(forge.job, "reset", "-q", "FETCH_HEAD")
        git(forge.job, "checkout", "-q", "--detach", "FETCH_HEAD")
    forge.push("notes", "of a colleague")
    # Another job, whose release was approved before this one.
    forge.push(FILE, release.render("staging", "3-c", "4-d"))
    # Live's tag is what is released now, not what was when the job began.
    give("", candidate="5-e")
    assert forge.released() == ["3-c", "5-e"]
    give("2-b")
    assert forge.released() == ["2-b"]
    assert forge.subjects() == [
        "staging: 2-b [skip ci]",
        "staging: 3-c, candidate 5-e [skip ci]",
        FILE,
        "notes",
        "release",
    ]
    assert release.tags(release.before("staging")) == ["3-c", "5-e"]


def test_a_push_that_others_outrun_is_tried_again(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    catch_up, times = committing._catch_up, iter(range(9))

    def and_then_a_colleague_pushes(branch: str) -> None:
        catch_up(branch)
        if (at := next(times)) != 2:
            forge.push("notes", f"{at}")

    monkeypatch.setattr(committing, "_catch_up", and_then_a_colleague_pushes)
    give("2-b")
    assert forge.released() == ["2-b"] and len(forge.subjects()) == 4
    with pytest.raises(DeployError, match="somebody else pushed to main first, 3 times: do it ag"):
        give("3-c")
    # Nothing is left of what was tried.
    assert forge.released() == release.released("staging") == ["2-b"]
    assert git(forge.job, "status", "--porcelain") == ""


@pytest.mark.parametrize("how", ["push", "branch"])
def test_what_the_forge_does_not_allow(forge: Forge, how: str) -> None:
    forge.hook("pre-receive", "echo 'GH006: Protected branch update failed.' >&2; exit 1")
    with pytest.raises(DeployError, match=r"^git push: GH006: Protected branch update failed\.$"):
        give("2-b", how)
    assert release.released("staging") == ["1-a"]
    assert git(forge.job, "status", "--porcelain") == ""
    git(forge.job, "remote", "set-url", "origin", "file:///nowhere")
    with pytest.raises(DeployError, match=r"^git (fetch|push): fatal: .*nowhere.*$"):
        give("2-b", how)


def test_what_was_taken_out_of_the_branch_does_not_come_back(forge: Forge) -> None:
    """Such as a secret, while a delivery waits for its approval."""
    git(forge.colleague, "commit", "-q", "--amend", "-m", "without it")
    git(forge.colleague, "push", "-q", "--force")
    with pytest.raises(DeployError, match="main was rewritten, and has not this commit: start a"):
        give("2-b")
    assert forge.subjects() == ["without it"]


def test_manifests_that_nobody_checked_are_not_deployed(forge: Forge) -> None:
    """Such as those of a commit that came to main while a delivery waited for its approval."""
    forge.push("k8s/base/settings.env", "LOG_LEVEL=debug")
    with pytest.raises(DeployError, match="main has other manifests in k8s/ by now than those t"):
        give("2-b")
    assert forge.subjects()[0] == "k8s/base/settings.env"


def test_commits_that_do_not_fit_are_left_alone(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_REF_NAME")  # a person's
    git(forge.job, "checkout", "-q", "main")
    (forge.job / "notes").write_text("mine")
    commit(forge.job)
    mine = git(forge.job, "rev-parse", "HEAD")
    forge.push("notes", "theirs")
    with pytest.raises(DeployError, match="what is here does not fit to main as it is now: git p"):
        give("2-b")
    assert git(forge.job, "rev-parse", "HEAD") == mine
    assert git(forge.job, "branch", "--show-current") == "main"


@pytest.mark.parametrize(
    ("name", "value", "branch"),
    [("GITHUB_REF_NAME", "main", "main"), ("CI_COMMIT_REF_NAME", "a/b", "a/b")]
    + [("BRANCH_NAME", "main", "main"), ("BUILD_SOURCEBRANCH", "refs/heads/a/b", "a/b")],
)
def test_the_branch_is_the_jobs(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, name: str, value: str, branch: str
) -> None:
    monkeypatch.delenv("GITHUB_REF_NAME")
    with pytest.raises(DeployError, match="on which branch. Say it by BRANCH_NAME=..."):
        give("2-b")
    monkeypatch.setenv(name, value)
    assert committing._branch() == branch
    # A person is on one.
    monkeypatch.delenv(name)
    git(forge.job, "checkout", "-q", "-b", "mine")
    assert committing._branch() == "mine"


def test_a_branch_for_a_pull_request(forge: Forge, capsys: pytest.CaptureFixture[str]) -> None:
    forge.hook("post-receive", "echo; echo 'Create a pull request: https://example.com/1' >&2")
    give(f"2-b@sha256:{64 * '0'}", "branch")
    assert forge.released("release/staging-2") == [f"2-b@sha256:{64 * '0'}"]
    # It has to be checked.
    assert forge.subjects("release/staging-2")[0] == "staging: 2-b"
    said = capsys.readouterr().out
    assert "pushed release/staging-2: make a pull request of it\n" in said
    assert "    Create a pull request: https://example.com/1\n" in said
    # Nothing is released yet.
    assert forge.released() == release.released("staging") == ["1-a"]
    assert git(forge.job, "status", "--porcelain") == ""
    give(f"2-b@sha256:{64 * '0'}", "branch")
    assert "release/staging-2 is there already, with this release" in capsys.readouterr().out
    with pytest.raises(DeployError, match="release/staging-2 is there already, with another rel"):
        give("2-c", "branch")
    give("1-a", "branch")
    assert "staging is released like this already" in capsys.readouterr().out
    assert release.released("staging") == ["1-a"]
    give("", "branch", "3-d")
    assert forge.released("release/staging-1-3") == ["1-a", "3-d"]


def test_words_that_commit_does_not_know(forge: Forge) -> None:
    with pytest.raises(DeployError, match="COMMIT=yes: expected push, or branch for a pull requ"):
        give("2-b", "yes")
    assert release.released("staging") == ["1-a"]
