"""`make deploy` and `make diff`: apply an overlay, then watch until all pods are the new ones.

Where Argo CD applies it, that is waited for instead.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

from tools.deploy import argo
from tools.deploy.reasons import hopeless, last_warning
from tools.deploy.release import overlay, released
from tools.deploy.service import CANDIDATE, NAME, REPOSITORY, ROOT, DeployError

Json = dict[str, Any]

# Kubernetes gives up first (progressDeadlineSeconds in deployment.yaml).
TIMEOUT_SECONDS = 900.0
GAVE_UP = "exceeded its progress deadline"
REVISION = "deployment.kubernetes.io/revision"  # an annotation of Deployments and ReplicaSets
HASH = "pod-template-hash"  # a label of ReplicaSets and their pods


class Unfinished(DeployError):
    """What was applied is not running; `reason` is why, without what to do."""

    def __init__(self, reason: str, ready: int, env: str) -> None:
        super().__init__(
            f"{reason}\n{ready} pods answer callers, as before. "
            f"To take this back: make rollback ENV={env}"
        )
        self.reason = reason


class Place:
    """The service in an environment: in which cluster and namespace it is, and how it is there."""

    def __init__(self, env: str) -> None:
        """Raises DeployError if nothing is released there, or the cluster cannot be reached."""
        released(env)
        folder = overlay(env)
        self.env, self.overlay = env, str(folder)
        text = (folder / "kustomization.yaml").read_text()
        if not (found := re.search(r"^namespace: *(\S+)", text, re.MULTILINE)):
            raise DeployError(f"k8s/overlays/{env}/kustomization.yaml names no namespace")
        self.namespace = found[1]
        context = self.kubectl("config", "current-context").strip()
        self.kubectl("get", "deployment", NAME, "--ignore-not-found")
        print(f"==> {NAME} in {env}: namespace {self.namespace} of {context}", flush=True)
        self.argo = argo.application(self.kubectl, env) is not None

    def diff(self) -> None:
        """Show what deploying would change in the cluster; kubectl exits with 1 if it would."""
        print(self.kubectl("diff", "-k", self.overlay, good=(0, 1)) or "no change")

    def deploy(self) -> None:
        """Apply what is released and wait for the rollout; raises DeployError with the reason."""
        live, *candidate = released(self.env)
        if self.argo:
            argo.wait(self.kubectl, self.env)
        else:
            for line in self.kubectl("apply", "-k", self.overlay).splitlines():
                if not line.endswith(" unchanged"):
                    print(f"    {line}")
        self._wait()
        if not candidate and not self.argo:
            # What components/shadow brought is still there: kubectl applies, but does not remove.
            kinds = "deployment,service,networkpolicy,configmap"
            print(self.kubectl("delete", kinds, "--selector", f"app={CANDIDATE}"), end="")
        print(f"done: {REPOSITORY}:{live}")

    def runs(self, tag: str) -> bool:
        """Tell whether pods of an image answer callers."""
        return any(
            found["spec"]["template"]["spec"]["containers"][0]["image"] == f"{REPOSITORY}:{tag}"
            for found in self._get("replicasets", "--selector", f"app={NAME}")["items"]
            if found.get("status", {}).get("availableReplicas")
        )

    def kubectl(self, *arguments: str, good: tuple[int, ...] = (0,)) -> str:
        """Return what kubectl prints; raises DeployError for exit codes that are not good."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        except OSError:
            where = "https://kubernetes.io/docs/tasks/tools"
            raise DeployError(f"kubectl is missing; see {where}") from None
        if done.returncode not in good:
            # kubectl's own log repeats it, in lines like "E1126 01:40:18 ... memcache.go: ...".
            said = re.sub(r"^[EWI]\d{4} .*\n", "", done.stderr or done.stdout, flags=re.MULTILINE)
            raise DeployError(f"kubectl {arguments[0]}: {said.strip()}")
        return done.stdout or done.stderr

    def _wait(self) -> None:
        """Show how the rollout goes until it is done; raises DeployError when it will not be."""
        started, shown = time.monotonic(), ""
        while True:
            seconds = time.monotonic() - started
            command = ("rollout", "status", f"deployment/{NAME}", "--watch=false")
            said = self.kubectl(*command, good=(0, 1)).strip()
            if said != shown:
                print(f"    {seconds:4.0f} s  {said}", flush=True)
                shown = said
            if "successfully rolled out" in said:
                return
            deployment = self._get("deployment", NAME)
            reason = ""
            # Until Kubernetes has seen what was applied, it tells of the rollout before.
            if "to be observed" not in said:
                reason = hopeless(deployment, self._new_pods(deployment))
            if not reason and (GAVE_UP in said or seconds > TIMEOUT_SECONDS):
                reason = last_warning(self._get("events")["items"]) or "no pod became ready"
            if reason:
                ready = deployment.get("status", {}).get("availableReplicas", 0)
                raise Unfinished(reason, ready, self.env)
            time.sleep(1)

    def _new_pods(self, deployment: Json) -> list[Json]:
        """Return the pods of the revision that the Deployment is on its way to."""
        mine = ("--selector", f"app={NAME}")
        revision = deployment["metadata"]["annotations"].get(REVISION)
        hashes = {
            found["metadata"]["labels"][HASH]
            for found in self._get("replicasets", *mine)["items"]
            if found["metadata"]["annotations"].get(REVISION) == revision
        }
        pods = self._get("pods", *mine)["items"]
        return [pod for pod in pods if pod["metadata"]["labels"].get(HASH) in hashes]

    def _get(self, *words: str) -> Json:
        found: Json = json.loads(self.kubectl("get", *words, "--output", "json"))
        return found
