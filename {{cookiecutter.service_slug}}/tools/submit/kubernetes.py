"""Kubernetes: Jobs from the template that the cluster's CronJob of training has."""

from __future__ import annotations

import json
import re
import subprocess
import time
from datetime import UTC, datetime

from pipeline import exits
from tools.deploy.reasons import NOT_CONFIGURED, NOT_PULLED, last_warning
from tools.deploy.service import NAME, ROOT
from tools.programs import Json, Refused, output, parsed
from tools.submit.progress import Progress
from tools.submit.request import Datasets, Request, SubmitError

POLL_SECONDS = 2.0
TRAIN = f"{NAME}-train"
FOLDER = "k8s/training"
LISTS = "/datasets"  # where a list of data sets is mounted
PARALLEL = 10  # jobs of an array at once; the cluster is others' too
MOST_BYTES = 1_000_000  # in a ConfigMap


class Kubernetes:
    def __init__(self) -> None:
        """Raises SubmitError if the CronJob is not there or may not be seen."""
        text = (ROOT / FOLDER / "kustomization.yaml").read_text()
        if not (found := re.search(r"^namespace: *(\S+)", text, re.MULTILINE)):
            raise SubmitError(f"{FOLDER}/kustomization.yaml names no namespace")
        self.namespace = found[1]
        try:
            self.template: Json = self._get("cronjob", TRAIN)["spec"]["jobTemplate"]
        except Refused as error:
            if "NotFound" in str(error):
                raise SubmitError(
                    f"there is no CronJob {TRAIN} in {self.namespace}: kubectl apply -k {FOLDER}"
                ) from None
            raise

    def __str__(self) -> str:
        return f"namespace {self.namespace} of Kubernetes"

    def submit(self, request: Request) -> str:
        """Start a Job, and return its name; raises SubmitError."""
        job: Json = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": self.template["metadata"] | {"generateName": f"{TRAIN}-"},
            "spec": self.template["spec"],
        }
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        # It calls "nothing new" a success. The image's own entry point does not.
        container.pop("command", None)
        values = request.values
        if request.datasets:
            name = self._keep(request.datasets)
            values["DATASETS"] = f"{LISTS}/list"
            pod["volumes"].append({"name": "datasets", "configMap": {"name": name}})
            mount = {"name": "datasets", "mountPath": LISTS, "readOnly": True}
            container["volumeMounts"].append(mount)
            _index(job["spec"], len(request.datasets.names))
        given = [{"name": key, "value": value} for key, value in values.items() if value]
        kept = [each for each in container["env"] if not values.get(each["name"])]
        container["env"] = kept + given
        return str(self._create(job)["metadata"]["name"])

    def follow(self, job: str) -> int:
        """Show states and log lines until the Job ends; return its exit code.

        Raises SubmitError if it is unknown, or cannot come to an end.
        """
        show, seen = Progress(), dict[str, str]()
        if not self._get("jobs", "--field-selector", f"metadata.name={job}")["items"]:
            raise SubmitError(f"JOB={job}: there is none such in {self.namespace}, or no more")
        while True:
            found = self._get("job", job)
            indexed = found["spec"].get("completionMode") == "Indexed"
            if indexed:  # which may have 10,000 pods
                show(_counts(found))
            elif not (pods := self._pods(job)):
                show(f"no pod yet {self._warning(job)}".rstrip())
            else:
                show(f"{pods[-1]['metadata']['name']}: {_state(pods[-1])}")
                self._log(pods[-1], seen)
            if ended := _ended(found):
                break
            time.sleep(POLL_SECONDS)
        if ended["type"] == "Complete":
            return 0
        codes = _codes(self._pods(job), indexed)
        if len(codes) < found["spec"].get("completions", 1):
            print(f"    ended from outside: {ended.get('reason')}: {ended.get('message')}")
            return exits.LATER
        return exits.of_many(codes.values())

    def _keep(self, datasets: Datasets) -> str:
        """Have a ConfigMap with a list, unless it is there; return its name."""
        content = datasets.path.read_text()
        if len(content) > MOST_BYTES:
            raise SubmitError(f"DATASETS={datasets.path}: over {MOST_BYTES:,} bytes; split it")
        name = f"{TRAIN}-{datasets.hash[:12]}"
        found = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "immutable": True,
            "data": {"list": content},
        }
        try:
            self._create(found)
        except Refused as error:
            if "AlreadyExists" not in str(error):
                raise
        return name

    def _create(self, item: Json) -> Json:
        return parsed(self._kubectl("create", "-o", "json", "-f", "-", given=json.dumps(item)))

    def _pods(self, job: str) -> list[Json]:
        selector = f"batch.kubernetes.io/job-name={job}"
        pods: list[Json] = self._get("pods", "--selector", selector)["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def _log(self, pod: Json, seen: dict[str, str]) -> None:
        """Print a pod's lines until it ends or the connection does; the next time, those since."""
        name = pod["metadata"]["name"]
        if _status(pod).keys() & {"running", "terminated"}:
            since = [f"--since-time={seen[name]}"] if name in seen else []
            subprocess.run(
                ["kubectl", "logs", "--follow", name, *since, "--namespace", self.namespace]
            )
            seen[name] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"

    def _warning(self, job: str) -> str:
        selector = f"involvedObject.name={job}"
        return last_warning(self._get("events", "--field-selector", selector)["items"])

    def _get(self, *words: str) -> Json:
        return parsed(self._kubectl("get", *words, "-o", "json"))

    def _kubectl(self, *words: str, given: str | None = None) -> str:
        return output("kubectl", *words, "--namespace", self.namespace, given=given)


def _index(spec: Json, size: int) -> None:
    """Make a Job one of many, where a data set that fails ends none of the others."""
    spec |= {"completionMode": "Indexed", "completions": size, "parallelism": min(size, PARALLEL)}
    spec["backoffLimitPerIndex"] = spec.pop("backoffLimit")
    for rule in spec["podFailurePolicy"]["rules"]:
        if rule["action"] == "FailJob":
            rule["action"] = "FailIndex"


def _ended(job: Json) -> Json:
    """Return the condition by which a Job has ended; nothing while it has not."""
    conditions = job.get("status", {}).get("conditions", [])
    kinds = ("Complete", "Failed")
    ends = (each for each in conditions if each["type"] in kinds and each["status"] == "True")
    return next(ends, {})


def _counts(job: Json) -> str:
    status = job.get("status", {})
    failed = status.get("failedIndexes")
    return (
        f"{status.get('succeeded', 0)} of {job['spec']['completions']} done, "
        f"{status.get('active', 0)} running{f', failed: {failed}' if failed else ''}"
    )


def _status(pod: Json) -> Json:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return dict(statuses[0].get("state", {})) if statuses else {}


def _state(pod: Json) -> str:
    """Return what a pod does; raises SubmitError if its container can never start."""
    waiting = _status(pod).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in NOT_PULLED:
        image = pod["spec"]["containers"][0]["image"]
        raise SubmitError(f"the image cannot be pulled: {image}. Was it pushed? {message}".strip())
    if reason in NOT_CONFIGURED:
        raise SubmitError(f"the container cannot be made: {message}")
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"Pending: {condition.get('message', '')}"
    return str(pod.get("status", {}).get("phase", "Pending"))


def _codes(pods: list[Json], indexed: bool) -> dict[str, int]:
    """Return the exit code of the last attempt: at the whole Job, or at each index."""
    codes = {}
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        index = labels.get("batch.kubernetes.io/job-completion-index", "") if indexed else ""
        if ended := _status(pod).get("terminated"):
            codes[index] = int(ended["exitCode"])
    return codes
