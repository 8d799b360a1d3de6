"""`make promote`: somebody lets the model of a run into an environment, and puts a name to it.

`make release`, `deploy` and `rollback` change an environment too: `record` tells the store.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys

from pipeline import records
from pipeline.checkpoint import now
from pipeline.naming import cleaned
from pipeline.progress import console
from pipeline.records import Deployment, Run
from pipeline.store import Store
from service.source import ROOT

# Who started the job, as CI systems say it.
ACTORS = ("APPROVER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID", "BUILD_REQUESTEDFOR")


class PromoteError(Exception):
    """The message says in a line why not, and what to do."""


def promote(store: Store, env: str, name: str, tag: str) -> Deployment:
    """Write the record of a deployment, having released its image.

    Raises PromoteError, and StoreMisused for a name that no run has.

    `name` is a run's, or "" for the newest that came to a model. `tag` is the image's, or "" for
    the one that `make image` gives to the run's model.
    """
    if os.environ.get("COMMIT") == "branch":
        raise PromoteError("COMMIT=branch: nothing is let in before it is merged: make release")
    run = _run(store, name)
    tag = tag or f"{run.version}-{(run.commit or 'nogit')[:8]}{'-dirty' if run.dirty else ''}"
    _release(env, tag)
    return _write(store, env, run.version, run.run, tag)


def record(store: Store, env: str) -> None:
    """Write the record of what is released to an environment, unless that is the newest there.

    Raises PromoteError if the store has no such model.
    """
    # Only here, since a job has no tools.
    from tools.deploy.release import released
    from tools.deploy.release import version as version_of
    from tools.deploy.service import DeployError

    try:
        tag = released(env)[0]
    except DeployError:  # said already, by the command that was to release something
        return
    version = version_of(tag)
    made = records.deployments(store, env)
    if made and made[-1].tag == tag:
        return
    model = records.model(store, version)
    if not model:
        raise PromoteError(f"{store.url} has no model {version}")
    _write(store, env, version, model.run, tag)


def _write(store: Store, env: str, version: str, run: str, tag: str) -> Deployment:
    number = len(records.deployments(store, env))
    while True:
        number += 1
        done = Deployment(env, number, version, run, tag, _approver(), now())
        if store.put_record(f"deployments/{env}/{number:06}.json", done):
            said = f"{env} no. {number}: {version} of run {run}, by {done.by}"
            console.print(said, markup=False, soft_wrap=True)
            return done


def _run(store: Store, name: str) -> Run:
    if not name:
        found = next((run for run in records.runs(store) if run.version), None)
        if not found:
            raise PromoteError("no run came to a model yet: make train")
        return found
    name = cleaned("RUN", name)
    run = records.run(store, name)
    if not run:
        raise PromoteError(f"RUN={name}: there is no such run that ended; make show lists them")
    if not run.version:
        raise PromoteError(f"run {name} was {run.status}: {run.reason}")
    return run


def _release(env: str, tag: str) -> None:
    """Write the image into the environment's overlay, but in a job, which has none."""
    if not env.isidentifier():
        raise PromoteError(f"ENV={env}: expected the name of an environment, such as staging")
    if (ROOT / "tools").is_dir():
        command = [sys.executable, "-m", "tools.deploy", "release"]
        values = {"ENV": env, "TAG": tag, "CANDIDATE": ""}
        if subprocess.run(command, cwd=ROOT, env=os.environ | values).returncode:
            raise PromoteError("it is not released; see above")


def _approver() -> str:
    named = next((os.environ[name] for name in ACTORS if os.environ.get(name)), "")
    if named:
        return named
    try:
        done = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, cwd=ROOT
        )
        return done.stdout.strip() or getpass.getuser()
    except OSError:
        return getpass.getuser()
