"""With Argo CD `make deploy` applies nothing, but waits: Argo CD applies what git has.

Whether an environment is its own is asked of the cluster: there is an Application for it, or not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tools.deploy.service import NAME, DeployError, git

Json = dict[str, Any]
Kubectl = Callable[..., str]

KIND = "applications.argoproj.io"
NAMESPACE = "argocd"
# It looks at git every few minutes, unless a webhook tells it.
TIMEOUT_SECONDS = 900.0
# What kubectl says where there is no Argo CD.
ABSENT = ("the server doesn't have a resource type", "could not find the requested resource")
FORBIDDEN = "forbidden"


def application(kubectl: Kubectl, env: str) -> Json | None:
    """Return the Application of an environment, as the cluster has it; None if it has none."""
    words = ("get", KIND, f"{NAME}-{env}", "--namespace", NAMESPACE)
    try:
        found = kubectl(*words, "--ignore-not-found", "--output", "json")
    except DeployError as error:
        if FORBIDDEN in str(error):
            print("    Argo CD's Applications may not be read here: applied without it")
        elif not any(sign in str(error) for sign in ABSENT):
            raise
        return None
    return dict(json.loads(found)) if found.strip() else None


def wait(kubectl: Kubectl, env: str) -> None:
    """Show how Argo CD comes to this commit, until it did; raises DeployError if it does not."""
    commit = _commit()
    started, shown = time.monotonic(), ""
    while True:
        found = application(kubectl, env) or {}
        status = found.get("status", {})
        at = status.get("sync", {})
        revision = at.get("revision", "")
        seconds = time.monotonic() - started
        said = f"Argo CD: {at.get('status', 'Unknown')} at {revision[:8] or 'no commit'}"
        if said != shown:
            print(f"    {seconds:4.0f} s  {said}", flush=True)
            shown = said
        if at.get("status") == "Synced" and _holds(revision, commit):
            return
        if reason := _failed(status, commit):
            raise DeployError(f"Argo CD cannot apply {commit[:8]}: {reason}")
        if seconds > TIMEOUT_SECONDS:
            why = _errors(status) or "was it pushed to the branch that the Application follows?"
            raise DeployError(f"Argo CD did not come to {commit[:8]}: {why}")
        time.sleep(2)


def _commit() -> str:
    """Return the last commit that changed the manifests; raises DeployError for later edits."""
    changed = git("status", "--porcelain", "--", "k8s")
    commit = git("log", "-1", "--format=%H", "--", "k8s")
    if changed or not commit:
        what = changed.split()[-1] if changed else "k8s"
        raise DeployError(
            f"{what} is not committed, and Argo CD applies what git has: commit and push it "
            "(make release and make rollback do by COMMIT=push), then make deploy"
        )
    return commit


def _failed(status: Json, commit: str) -> str:
    """Return why Argo CD gave this commit up; nothing while it has not."""
    last = status.get("operationState", {})
    if last.get("phase") not in ("Failed", "Error"):
        return ""
    tried = last.get("syncResult", {}).get("revision", "")
    return str(last.get("message", "")) if _holds(tried, commit) else ""


def _errors(status: Json) -> str:
    found = [item for item in status.get("conditions", []) if item["type"].endswith("Error")]
    return "; ".join(item.get("message", item["type"]) for item in found)


def _holds(revision: str, commit: str) -> bool:
    """Tell whether a revision is the commit, or one that came after it."""
    if revision and not git("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}"):
        git("fetch", "--quiet", "origin", revision)
    return bool(revision) and git("merge-base", commit, revision) == commit
