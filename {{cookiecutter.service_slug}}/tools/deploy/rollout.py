"""`make deploy`, `diff` and `rollback`: apply, then watch until the new pods are all there is."""

from __future__ import annotations

import json
import time
from typing import Any

from tools.deploy.manifests import kubectl, namespace, overlay
from tools.deploy.reasons import given_up, hopeless, last_warning
from tools.deploy.service import DeployError, Service

Json = dict[str, Any]

# Kubernetes gives up first (progressDeadlineSeconds), or so we think.
TIMEOUT = 900.0
REVISION = "deployment.kubernetes.io/revision"


def deploy(service: Service, env: str, text: str) -> None:
    """Apply the manifests and wait for the rollout; raises DeployError with the reason."""
    where = Place(service, env)
    print(f"==> {where}")
    for line in kubectl(*where.options, "apply", "-f", "-", given=text).splitlines():
        if not line.endswith(" unchanged"):
            print(f"    {line}")
    where.wait()


def diff(service: Service, env: str, text: str) -> None:
    """Show what deploying would change in the cluster; kubectl's exit code 1 says that it would."""
    where = Place(service, env)
    print(f"==> {where}")
    print(kubectl(*where.options, "diff", "-f", "-", given=text, good=(0, 1)) or "no change")


def undo(service: Service, env: str) -> None:
    """Go back to the pods before these, settings and all, and wait for it; raises DeployError."""
    where = Place(service, env)
    print(f"==> {where}")
    before = where.image()
    kubectl(*where.options, "rollout", "undo", f"deployment/{service.name}")
    print(f"    back from {before}\n           to {where.image()}")
    where.wait()


class Place:
    """A service in an environment: which cluster and namespace that is, and how it is there."""

    def __init__(self, service: Service, env: str) -> None:
        overlay(env)
        self.name, self.env, self.namespace = service.name, env, namespace(env)
        self.options = ["--namespace", self.namespace]

    def __str__(self) -> str:
        context = kubectl("config", "current-context").strip()
        return f"{self.name} in {self.env}: namespace {self.namespace} of {context}"

    def image(self) -> str:
        pods = self._get("deployment", self.name)["spec"]["template"]["spec"]
        return str(pods["containers"][0]["image"])

    def wait(self) -> None:
        """Show how the rollout goes until it is done; raises DeployError when it will not be."""
        started = time.monotonic()
        shown = ""
        while True:
            deployment = self._get("deployment", self.name)
            new = _new_pods(deployment, self._list("replicasets"), self._list("pods"))
            said = _progress(deployment, new)
            seconds = time.monotonic() - started
            if said != shown:
                print(f"    {seconds:4.0f} s  {said}", flush=True)
                shown = said
            if _done(deployment):
                print(f"done: {self.image()}")
                return
            reason = hopeless(deployment, new) if _seen(deployment) else ""
            late = _seen(deployment) and given_up(deployment) or seconds > TIMEOUT
            if late and not reason:
                reason = last_warning(self._list("events", selector="")) or "no pod became ready"
            if reason:
                ready = deployment.get("status", {}).get("availableReplicas", 0)
                raise DeployError(
                    f"{reason}\n"
                    f"{ready} pods answer callers, as before. To take this back: "
                    f"make rollback ENV={self.env}"
                )
            time.sleep(1)

    def _get(self, kind: str, name: str) -> Json:
        found: Json = json.loads(kubectl(*self.options, "get", kind, name, "-o", "json"))
        return found

    def _list(self, kind: str, selector: str | None = None) -> list[Json]:
        chosen = f"app={self.name}" if selector is None else selector
        options = ["--selector", chosen] if chosen else []
        found: list[Json] = json.loads(kubectl(*self.options, "get", kind, *options, "-o", "json"))[
            "items"
        ]
        return found


def _new_pods(deployment: Json, sets: list[Json], pods: list[Json]) -> list[Json]:
    """Return the pods of the revision that the Deployment is on its way to."""
    revision = _revision(deployment)
    hashes = {
        item["metadata"]["labels"].get("pod-template-hash")
        for item in sets
        if _revision(item) == revision
    }
    return [pod for pod in pods if pod["metadata"]["labels"].get("pod-template-hash") in hashes]


def _revision(item: Json) -> str:
    return str(item["metadata"].get("annotations", {}).get(REVISION, ""))


def _progress(deployment: Json, new: list[Json]) -> str:
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    ready = sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for pod in new
        for condition in pod.get("status", {}).get("conditions", [])
    )
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return f"{ready} of {wanted} new pods ready, {old} old ones left"


def _seen(deployment: Json) -> bool:
    """Tell whether the status is about what was applied last, and not the one before."""
    seen: int = deployment.get("status", {}).get("observedGeneration", 0)
    generation: int = deployment["metadata"]["generation"]
    return seen >= generation


def _done(deployment: Json) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return _seen(deployment) and counts == [wanted] * 3
