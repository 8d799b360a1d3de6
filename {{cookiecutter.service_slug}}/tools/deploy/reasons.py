"""Why a rollout does not come to its end, in plain words, from what Kubernetes reports of it."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

NOT_PULLED = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
NOT_CONFIGURED = {"CreateContainerConfigError", "CreateContainerError"}


def hopeless(deployment: Json, pods: list[Json]) -> str:
    """Return why waiting longer is of no use; empty as long as it may be."""
    for condition in _conditions(deployment):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _forbidden(condition.get("message", ""))
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", []):
            if reason := _failed(container, pod):
                return reason
    return ""


def given_up(deployment: Json) -> bool:
    """Tell whether Kubernetes has waited for as long as progressDeadlineSeconds."""
    return any(
        condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in _conditions(deployment)
    )


def last_warning(events: list[Json]) -> str:
    """Return what last went wrong: a probe, a node without room, a volume that cannot be had."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return ""
    last = max(warnings, key=lambda event: event.get("lastTimestamp") or "")
    message, reason = str(last.get("message", "")).strip(), last.get("reason")
    if reason == "Unhealthy":
        return f"the pods run, but are not found well: {message}"
    if reason == "FailedScheduling":
        return f"no node has room for a pod: {message}"
    if reason == "FailedMount":
        return f"a volume cannot be had; is Datadog's Agent, with its CSI driver, here? {message}"
    return f"{reason}: {message}"


def _forbidden(message: str) -> str:
    if "exceeded quota" in message:
        return f"the namespace's quota allows no more pods: {message}"
    if "PodSecurity" in message:
        return f"the namespace's Pod Security does not allow such a pod: {message}"
    return f"no pod can be made: {message}"


def _failed(container: Json, pod: Json) -> str:
    waiting = container.get("state", {}).get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in NOT_PULLED:
        return (
            f"the image cannot be pulled: {container.get('image')}. Was it pushed, and may this "
            f"cluster pull it? {waiting.get('message', '')}".strip()
        )
    if reason in NOT_CONFIGURED:
        return f"the container cannot be made: {waiting.get('message', '')}"
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get(
        "terminated"
    )
    # A pod that is told to stop ends, too; and one failed start may be the node's fault.
    if not ended or not ended.get("exitCode") or "deletionTimestamp" in pod["metadata"]:
        return ""
    said = str(ended.get("message", "")).strip().splitlines()
    for line in said:
        if line.startswith("refusing to start: "):
            return f"the service refuses to start: {line.removeprefix('refusing to start: ')}"
    if ended.get("reason") == "OOMKilled":
        return "the container took more memory than its limit (see sizing.yaml; `make size`)"
    if reason == "CrashLoopBackOff":
        return f"the service ends with exit code {ended['exitCode']}: {' / '.join(said[-3:])}"
    return ""


def _conditions(item: Json) -> list[Json]:
    found: list[Json] = item.get("status", {}).get("conditions", [])
    return found
