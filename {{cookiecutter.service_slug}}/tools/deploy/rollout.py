"""`make deploy` and `make diff`: apply an overlay, then watch until all pods are the new ones."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

from tools.deploy.reasons import hopeless, last_warning
from tools.deploy.release import overlay, read, tags
from tools.deploy.service import CANDIDATE, NAME, REPOSITORY, ROOT, DeployError

Json = dict[str, Any]

# Kubernetes gives up first (progressDeadlineSeconds in deployment.yaml).
TIMEOUT_SECONDS = 900.0
REVISION = "deployment.kubernetes.io/revision"


class Place:
    """The service in an environment: in which cluster and namespace it is, and how it is there."""

    def __init__(self, env: str) -> None:
        """Raises DeployError if nothing is released there, or the cluster cannot be reached."""
        read(env)
        self.env, self.overlay = env, str(overlay(env))
        text = (overlay(env) / "kustomization.yaml").read_text()
        if not (found := re.search(r"^namespace: *(\S+)", text, re.MULTILINE)):
            raise DeployError(f"k8s/overlays/{env}/kustomization.yaml names no namespace")
        self.namespace = found[1]
        context = self.kubectl("config", "current-context").strip()
        self.kubectl("get", "deployment", NAME, "--ignore-not-found")
        print(f"==> {NAME} in {env}: namespace {self.namespace} of {context}", flush=True)

    def diff(self) -> None:
        """Show what deploying would change in the cluster; kubectl exits with 1 if it would."""
        print(self.kubectl("diff", "-k", self.overlay, good=(0, 1)) or "no change")

    def deploy(self) -> None:
        """Apply what is released and wait for the rollout; raises DeployError with the reason."""
        live, *candidate = tags(read(self.env))
        for line in self.kubectl("apply", "-k", self.overlay).splitlines():
            if not line.endswith(" unchanged"):
                print(f"    {line}")
        self._wait()
        if not candidate:
            # What components/shadow brought is still there: kubectl applies, but does not remove.
            kinds = "deployment,service,networkpolicy,configmap"
            print(self.kubectl("delete", kinds, "--selector", f"app={CANDIDATE}"), end="")
        print(f"done: {REPOSITORY}:{live}")

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
            # kubectl's own log repeats it, in lines like "E1126 01:40:18 ... memcache.go: ...".
            said = re.sub(r"^[EWI]\d{4} .*\n", "", done.stderr or done.stdout, flags=re.MULTILINE)
            raise DeployError(f"kubectl {arguments[0]}: {said.strip()}")
        return done.stdout

    def _wait(self) -> None:
        """Show how the rollout goes until it is done; raises DeployError when it will not be."""
        started = time.monotonic()
        shown = ""
        while True:
            seconds = time.monotonic() - started
            late = seconds > TIMEOUT_SECONDS
            try:
                said = self.kubectl("rollout", "status", f"deployment/{NAME}", "--watch=false")
            except DeployError as error:
                if "exceeded its progress deadline" not in str(error):
                    raise
                said, late = "Kubernetes has given up", True
            if said != shown:
                print(f"    {seconds:4.0f} s  {said.strip()}", flush=True)
                shown = said
            if "successfully rolled out" in said:
                return
            kinds = "deployments,replicasets,pods"
            deployment, new_pods = _split(self._get(kinds, "--selector", f"app={NAME}"))
            # Until Kubernetes has seen what was applied, it tells of the rollout before.
            seen = "to be observed" not in said
            reason = hopeless(deployment, new_pods) if seen else ""
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

    def _get(self, *words: str) -> list[Json]:
        found: list[Json] = json.loads(self.kubectl("get", *words, "-o", "json"))["items"]
        return found


def _split(items: list[Json]) -> tuple[Json, list[Json]]:
    """Return the Deployment, and the pods of the revision that it is on its way to."""
    (deployment,) = (
        i for i in items if i["kind"] == "Deployment" and i["metadata"]["name"] == NAME
    )
    revision = deployment["metadata"].get("annotations", {}).get(REVISION)
    hashes = {
        item["metadata"]["labels"].get("pod-template-hash")
        for item in items
        if item["kind"] == "ReplicaSet"
        and item["metadata"].get("annotations", {}).get(REVISION) == revision
    }
    pods = (item for item in items if item["kind"] == "Pod")
    return deployment, [
        pod for pod in pods if pod["metadata"]["labels"].get("pod-template-hash") in hashes
    ]
