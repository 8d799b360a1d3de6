"""Why a rollout does not come to its end, in plain words, from what Kubernetes reports of it."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

NOT_PULLED = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
NOT_CONFIGURED = {"CreateContainerConfigError", "CreateContainerError"}
FORBIDDEN = {
    "exceeded quota": "the namespace's quota allows no more pods",
    "PodSecurity": "the namespace's Pod Security does not allow such a pod",
}
WARNINGS = {
    "Unhealthy": "the pods run, but are not found well",
    "FailedScheduling": "no node has room for a pod",
    "FailedMount": "a volume cannot be had; is Datadog's Agent, with its CSI driver, here?",
}
REFUSED = "refusing to start: "


def hopeless(deployment: Json, pods: list[Json]) -> str:
    """Return why the rollout cannot come to its end; nothing while it still may."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = condition.get("message", "")
            why = next((FORBIDDEN[sign] for sign in FORBIDDEN if sign in message), "")
            return f"{why or 'no pod can be made'}: {message}"
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", []):
            if reason := _failed(container, pod):
                return reason
    return ""


def last_warning(events: list[Json]) -> str:
    """Return what last went wrong: a probe, a node without room, a volume that is missing."""
    warnings = [event for event in events if event.get("type") == "Warning"]
    if not warnings:
        return ""
    last = max(warnings, key=lambda event: event.get("lastTimestamp") or "")
    reason = str(last.get("reason"))
    return f"{WARNINGS.get(reason, reason)}: {str(last.get('message', '')).strip()}"


def _failed(container: Json, pod: Json) -> str:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in NOT_PULLED:
        return (
            f"the image cannot be pulled: {container.get('image')}. "
            f"Was it pushed, and may this cluster pull it? {message}".strip()
        )
    if reason in NOT_CONFIGURED:
        return f"the container cannot be made: {message}"
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    # A pod that is told to stop may end with an error; that is no failure of the rollout.
    if not ended or not ended.get("exitCode") or "deletionTimestamp" in pod["metadata"]:
        return ""
    said = str(ended.get("message", "")).strip().splitlines()
    for line in said:
        if line.startswith(REFUSED):
            return f"the service refuses to start: {line.removeprefix(REFUSED)}"
    if ended.get("reason") == "OOMKilled":
        return "the container took more memory than its limit (see sizing.yaml; `make size`)"
    # One failed start may be the node's fault; Kubernetes says CrashLoopBackOff after more.
    if reason == "CrashLoopBackOff":
        return f"the service ends with exit code {ended['exitCode']}: {' / '.join(said[-3:])}"
    return ""
