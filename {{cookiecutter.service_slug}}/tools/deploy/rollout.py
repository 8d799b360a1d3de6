"""`make deploy` and `make diff`: apply an overlay, then watch until all pods are the new ones."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

from tools.deploy.reasons import hopeless, last_warning
from tools.deploy.release import overlay, read, tags
from tools.deploy.service import ROOT, DeployError, Service

Json = dict[str, Any]

# Kubernetes gives up first (progressDeadlineSeconds in deployment.yaml).
TIMEOUT_SECONDS = 900.0
REVISION = "deployment.kubernetes.io/revision"
# What a candidate leaves behind when it is released no more: kubectl applies, but does not remove.
CANDIDATE = (
    "deployment/{0}-candidate",
    "service/{0}-candidate",
    "networkpolicy/{0}-candidate",
    "networkpolicy/{0}-copies",
    "configmap/{0}-shadow",
)


def deploy(service: Service, env: str) -> None:
    """Apply what is released and wait for the rollout; raises DeployError with the reason."""
    place = Place(service, env)
    for line in place.kubectl("apply", "-k", place.overlay).splitlines():
        if not line.endswith(" unchanged"):
            print(f"    {line}")
    place.wait()
    if len(place.tags) == 1:
        gone = [name.format(service.name) for name in CANDIDATE]
        print(place.kubectl("delete", "--ignore-not-found", *gone), end="")
    print(f"done: {service.repository}:{place.tags[0]}")


def diff(service: Service, env: str) -> None:
    """Show what deploying would change in the cluster; kubectl's exit code 1 says that it would."""
    place = Place(service, env)
    print(place.kubectl("diff", "-k", place.overlay, good=(0, 1)) or "no change")


class Place:
    """A service in an environment: in which cluster and namespace it is, and how it is there."""

    def __init__(self, service: Service, env: str) -> None:
        self.name, self.env, self.overlay = service.name, env, str(overlay(env))
        self.tags = tags(read(env))
        text = (overlay(env) / "kustomization.yaml").read_text()
        if not (found := re.search(r"^namespace: *(\S+)", text, re.MULTILINE)):
            raise DeployError(f"k8s/overlays/{env}/kustomization.yaml names no namespace")
        self.namespace = found[1]
        context = self.kubectl("config", "current-context").strip()
        print(f"==> {self.name} in {env}: namespace {self.namespace} of {context}")

    def kubectl(self, *arguments: str, good: tuple[int, ...] = (0,)) -> str:
        """Return what kubectl prints; raises DeployError with what it complains of."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        except OSError:
            raise DeployError(
                "kubectl is missing; see https://kubernetes.io/docs/tasks/tools"
            ) from None
        if done.returncode not in good:
            said = done.stderr.strip() or done.stdout.strip()
            raise DeployError(f"kubectl {arguments[0]}: {said}")
        return done.stdout

    def wait(self) -> None:
        """Show how the rollout goes until it is done; raises DeployError when it will not be."""
        started = time.monotonic()
        shown = ""
        while True:
            seconds = time.monotonic() - started
            late = seconds > TIMEOUT_SECONDS
            try:
                said = self.kubectl("rollout", "status", f"deployment/{self.name}", "--watch=false")
            except DeployError as error:
                if "exceeded its progress deadline" not in str(error):
                    raise
                said, late = "Kubernetes has given up", True
            if said != shown:
                print(f"    {seconds:4.0f} s  {said.strip()}", flush=True)
                shown = said
            if "successfully rolled out" in said:
                return
            (deployment,) = self._mine("deployments")
            # Until Kubernetes has seen what was applied, it tells of the rollout before.
            seen = "to be observed" not in said
            reason = hopeless(deployment, self._new_pods(deployment)) if seen else ""
            if late and not reason:
                reason = last_warning(self._get("events")) or "no pod became ready"
            if reason:
                ready = deployment.get("status", {}).get("availableReplicas", 0)
                raise DeployError(
                    f"{reason}\n"
                    f"{ready} pods answer callers, as before. To take this back: "
                    f"make rollback ENV={self.env}"
                )
            time.sleep(1)

    def _new_pods(self, deployment: Json) -> list[Json]:
        """Return the pods of the ReplicaSet that the Deployment is on its way to."""
        hashes = {
            item["metadata"]["labels"].get("pod-template-hash")
            for item in self._mine("replicasets")
            if _revision(item) == _revision(deployment)
        }
        pods = self._mine("pods")
        return [pod for pod in pods if pod["metadata"]["labels"].get("pod-template-hash") in hashes]

    def _mine(self, kind: str) -> list[Json]:
        return self._get(kind, "--selector", f"app={self.name}")

    def _get(self, *words: str) -> list[Json]:
        found: list[Json] = json.loads(self.kubectl("get", *words, "-o", "json"))["items"]
        return found


def _revision(item: Json) -> str:
    return str(item["metadata"].get("annotations", {}).get(REVISION, ""))
