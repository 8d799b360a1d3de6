"""The state of this service's monitors that tell of drift, as Datadog has it."""

from __future__ import annotations

from datadog_api_client import Configuration

from tools.datadog.api import Monitors
from tools.datadog.client import asking, connected
from tools.datadog.definitions import definitions, values
from tools.drift import DriftError, Found

# The definitions in datadog/monitors.yaml that have it are asked for.
TAG = "retrain:yes"
HEAD = ("monitor", "env", "state", "since (UTC)", "link")


def ask(configuration: Configuration) -> Found:
    """Raises DriftError, and Invalid or DatadogError."""
    known = values()
    wanted = [
        one.name for one in definitions() if one.kind == "monitor" and TAG in one.body["tags"]
    ]
    if not wanted:
        raise DriftError(f"no monitor in datadog/monitors.yaml has the tag {TAG}")
    with connected(configuration) as client, asking("monitors"):
        held = Monitors(client, known).held(wanted)
    if missing := [name for name in wanted if name not in held]:
        raise DriftError(f"Datadog has no monitor {missing[0]} of ours: run make datadog-apply")
    rows, drift = [], False
    for name in wanted:
        body = held[name].body
        state = body["overall_state"]
        since = (body.get("overall_state_modified") or "")[:16].replace("T", " ")
        link = f"{_pages(configuration)}/monitors/{held[name].id}"
        rows.append((name, known["env"], state, since, link))
        drift = drift or state == "Alert"
    return Found(HEAD, rows, drift)


def _pages(configuration: Configuration) -> str:
    """Return where a site has its pages: a region's are on its own host, else on app."""
    site = configuration.server_variables.get("site", "datadoghq.com")
    return f"https://{site if site.count('.') > 1 else f'app.{site}'}"
