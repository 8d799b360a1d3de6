"""COMMIT=push and COMMIT=branch: a release goes into git, as a commit of its one file.

git then says what runs where, Argo CD applies it from there, and `git revert` takes it back.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from tools.deploy import release
from tools.deploy.service import NAME, ROOT, DeployError, git

# Which branch a CI system works for: what it checks out is a commit, and no branch.
BRANCHES = ("GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BRANCH_NAME", "BUILD_SOURCEBRANCH")
TRIES = 3
# What deliveries write, which they bring in from each other.
NO_RELEASE = ":(exclude,glob)k8s/overlays/*/release/**"
# What git says of a push if somebody else's came first.
OUTRUN = ("[rejected]", "cannot lock ref")


def put(env: str, text: Callable[[], str], how: str) -> None:
    """Release what `text` returns to an environment; `how` is the value of COMMIT.

    `text` is asked once all that others have pushed is here. Raises DeployError.
    """
    if how == "push":
        _push(env, text)
    elif how == "branch":
        _propose(env, text())
    elif how:
        raise DeployError(f"COMMIT={how}: expected push, or branch for a pull request")
    else:
        release.write(env, text())
        _say(env)
        print(f"    commit {_name(env)}")


def _push(env: str, text: Callable[[], str]) -> None:
    branch = _branch()
    for _ in range(TRIES):
        # What was released without a commit would be in the way, and counts no more.
        _restore(env)
        _catch_up(branch)
        release.write(env, text())
        # Without a word to CI it would check, train and release again what a release has changed.
        if not _committed(env, " [skip ci]"):
            _say(env)
            print(f"    {branch} has it already")
            return
        done = _run("push", "origin", f"HEAD:refs/heads/{branch}")
        if done.returncode == 0:
            _say(env)
            print(f"    pushed to {branch}")
            return
        _take_back(env)
        if not _is_outrun(done):
            raise DeployError(f"git push: {_line(done)}")
    raise DeployError(f"somebody else pushed to {branch} first, {TRIES} times: do it again")


def _propose(env: str, text: str) -> None:
    branch = "-".join([f"release/{env}", *map(release.version, release.tags(text))])
    release.write(env, text)
    if not _committed(env):
        print(f"{env} is released like this already")
        return
    there = _run("fetch", "--quiet", "origin", f"refs/heads/{branch}").returncode == 0
    if there and git("show", f"FETCH_HEAD:./{_name(env)}") == text.strip():
        _take_back(env)
        print(f"{branch} is there already, with this release")
        return
    done = _run("push", "origin", f"HEAD:refs/heads/{branch}")
    _take_back(env)
    if _is_outrun(done):
        raise DeployError(f"{branch} is there already, with another release: merge or delete it")
    if done.returncode:
        raise DeployError(f"git push: {_line(done)}")
    print(f"pushed {branch}: make a pull request of it")
    # Forges say here where.
    print("".join(f"    {line}\n" for line in _remote(done)), end="")


def _say(env: str) -> None:
    print(f"released to {env}: {', candidate '.join(release.released(env))}")


def _branch() -> str:
    if found := _of_ci() or git("branch", "--show-current"):
        return found
    raise DeployError("COMMIT=push: on which branch? Say it by BRANCH_NAME=...")


def _of_ci() -> str:
    names = (os.environ.get(name, "").removeprefix("refs/heads/") for name in BRANCHES)
    return next(filter(None, names), "")


def _catch_up(branch: str) -> None:
    """Bring in what others have pushed; raises DeployError if what is here does not fit to it."""
    _git("fetch", "--quiet", "origin", f"refs/heads/{branch}")
    # A CI job has no commits of its own: what is here alone, somebody has taken out of the branch.
    if _of_ci() and _run("merge-base", "--is-ancestor", "HEAD", "FETCH_HEAD").returncode:
        raise DeployError(f"{branch} was rewritten, and has not this commit: start a new delivery")
    changed = ("diff", "--name-only", "HEAD", "FETCH_HEAD", "--", "k8s", NO_RELEASE)
    if _of_ci() and git(*changed):
        raise DeployError(
            f"{branch} has other manifests in k8s/ by now than those that were checked here: "
            "start a new delivery"
        )
    try:
        _git("rebase", "--quiet", "--autostash", "FETCH_HEAD")
    except DeployError:
        _run("rebase", "--abort")
        raise DeployError(
            f"what is here does not fit to {branch} as it is now: git pull --rebase, then again"
        ) from None


def _committed(env: str, end: str = "") -> bool:
    """Commit the file of a release and nothing else; return False if it is as git has it."""
    _git("add", "--", _name(env))
    if not git("status", "--porcelain", "--", _name(env)):
        return False
    tags = [tag.partition("@")[0] for tag in release.released(env)]
    message = f"--message={env}: {', candidate '.join(tags)}{end}"
    _git("commit", "--quiet", message, "--", _name(env))
    return True


def _take_back(env: str) -> None:
    """Undo the commit of a release, and the release: it did not come to be."""
    _git("reset", "--quiet", "--soft", "HEAD~1")
    _restore(env)


def _restore(env: str) -> None:
    # It fails for a file that git does not know yet, which is in nobody's way.
    _run("restore", "--staged", "--worktree", "--", _name(env))


def _name(env: str) -> str:
    return str(release.file(env).relative_to(ROOT))


def _git(*arguments: str) -> None:
    done = _run(*arguments)
    if done.returncode:
        raise DeployError(f"git {arguments[0]}: {_line(done)}")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git"]
    # A CI system's git knows nobody whose commit it could be.
    if not git("config", "user.email"):
        command += ["-c", f"user.name={NAME}", "-c", f"user.email={NAME}@localhost"]
    env = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True
        )
    except OSError:
        raise DeployError("COMMIT: git is missing") from None


def _is_outrun(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode != 0 and any(sign in done.stderr for sign in OUTRUN)


def _line(done: subprocess.CompletedProcess[str]) -> str:
    """Return in a line why git did not do it: what a forge says of it, or git itself."""
    said = [line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:"))]
    return " ".join(_remote(done) or said or done.stderr.split())


def _remote(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = (line.partition("remote:") for line in done.stderr.splitlines())
    return [said.strip() for _, remote, said in lines if remote and said.strip()]
