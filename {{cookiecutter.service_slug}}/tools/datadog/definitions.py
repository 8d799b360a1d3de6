"""What this service should have in Datadog: the files of `datadog/`, with placeholders filled in.

The files have the form of Datadog's exports, with `${service}`, `${p99_seconds}` and so on where
services differ. A `$env` without braces is a dashboard's own variable, and stays.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.slo import Slo
from tools.datadog import gates

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "datadog"
FILES = {"slo": "slo.yaml", "monitor": "monitors.yaml", "dashboard": "dashboard.yaml"}
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
PERCENTILE = re.compile(r"\bp\d+(?:\.\d+)?:([\w.]+)\{")

# All our objects carry this tag; an object without it is somebody else's, and never touched.
MANAGED_BY = "managed_by:model-service-template"


class Invalid(Exception):
    """A definition that Datadog would not understand; the message says where and what."""


@dataclass(frozen=True)
class Definition:
    """One object: kind, the name by which it is found again, and the body Datadog shall hold."""

    kind: str
    name: str
    body: dict[str, Any]


def definitions(folder: Path = FOLDER) -> list[Definition]:
    """Return all objects. Raises Invalid for bad YAML, and for a placeholder that nothing fills."""
    known = values(folder)
    found = [Definition("entity", "service", _read(folder / "entity.datadog.yaml", known))]
    for kind, file in FILES.items():
        found += [
            Definition(kind, name, body) for name, body in _read(folder / file, known).items()
        ]
    marked = [_marked(definition, known) for definition in found]
    return [*marked, *_percentiles(marked), *_webhook(folder, known)]


def values(folder: Path = FOLDER) -> dict[str, Any]:
    """Return what placeholders stand for: names, thresholds, and the promise of slo.toml."""
    service = tomllib.loads((ROOT / "service.toml").read_text())
    slo = Slo.read()
    thresholds = tomllib.loads((folder / "thresholds.toml").read_text())
    known = (
        {"notify_drift": ""}
        | thresholds
        | {
            "service": service["name"],
            "team": service["team"],
            # Rounded, or 99.9 would be 99.90000000000001.
            "p99_seconds": round(slo.p99_ms / 1000, 9),
            "error_percent": round(slo.error_ratio * 100, 9),
            "slo_target": round(100 - slo.error_ratio * 100, 9),
            "slo_id": "${slo_id}",  # stays: Datadog gives the id when the objective is created
        }
        | _gates()
    )
    if known["burn_fast"] * slo.error_ratio >= 1:
        raise Invalid(
            f"thresholds.toml: burn_fast = {known['burn_fast']} can never be reached: with an "
            f"error_ratio of {slo.error_ratio}, a service that fails all requests burns at "
            f"{1 / slo.error_ratio:g}"
        )
    return known


def _gates() -> dict[str, float]:
    try:
        return gates.bounds()
    except ValueError as error:
        raise Invalid(str(error)) from None


def retraining(folder: Path = FOLDER) -> dict[str, Any]:
    """Return how the CI system is told to train again. Raises Invalid unless there is just one."""
    files = sorted((folder / "retrain").glob("*.yaml"))
    if not files:
        raise Invalid("no CI system is told in datadog/retrain: run make retrain")
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise Invalid(f"datadog/retrain has {names}: keep that of your CI system")
    return _read(files[0], values(folder))


def marks(kind: str, name: str, known: Mapping[str, Any]) -> list[str]:
    """Return the tags by which an object is found again."""
    return [f"service:{known['service']}", MANAGED_BY, f"object:{kind}.{name}"]


def fill(value: Any, known: Mapping[str, Any], where: str) -> Any:
    """Return the value with its placeholders filled in; a text that is one placeholder takes its
    value's type. Raises Invalid for a placeholder that is not known.
    """
    if isinstance(value, dict):
        return {key: fill(item, known, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, known, f"{where}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in PLACEHOLDER.findall(value):
        if name not in known:
            raise Invalid(f"{where}: nothing is called ${{{name}}}")
    if alone := PLACEHOLDER.fullmatch(value):
        return known[alone[1]]
    return PLACEHOLDER.sub(lambda match: str(known[match[1]]), value)


def queries(body: Any) -> Iterator[str]:
    """Yield every query in an object."""
    if isinstance(body, dict):
        for key, item in body.items():
            if key == "query" and isinstance(item, str):
                yield item
            else:
                yield from queries(item)
    elif isinstance(body, list):
        for item in body:
            yield from queries(item)


def _read(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    without = gates.NAMES - known.keys()
    try:
        found: dict[str, Any] = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise Invalid(f"{path.name}: {' '.join(str(error).split())}") from None
    asked = {key: set(PLACEHOLDER.findall(json.dumps(item))) for key, item in found.items()}
    there = {key: item for key, item in found.items() if not asked[key] & without}
    filled: dict[str, Any] = fill(there, known, path.name)
    return filled


def _marked(definition: Definition, known: Mapping[str, Any]) -> Definition:
    """Add the tags: the owner's, and a digest, by which a line taken out of a definition shows."""
    text = json.dumps(definition.body, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    team = f"team:{known['team']}"
    tags = [*marks(definition.kind, definition.name, known), team, f"definition:{digest}"]
    body = dict(definition.body)
    if definition.kind == "dashboard":  # Datadog takes only team tags here
        body["tags"] = [team]
        body["description"] = f"{body.get('description', '')}\n\n{' '.join(tags)}".strip()
    elif definition.kind == "entity":
        metadata = body["metadata"]
        body["metadata"] = metadata | {"tags": [*(metadata.get("tags") or []), *tags]}
    else:
        body["tags"] = [*body.get("tags", []), *tags]
    return Definition(definition.kind, definition.name, body)


def _percentiles(found: list[Definition]) -> Iterator[Definition]:
    """Yield the metrics of which a query wants percentiles: Datadog keeps them only if told to."""
    asked = (PERCENTILE.findall(query) for one in found for query in queries(one.body))
    for metric in sorted({metric for metrics in asked for metric in metrics}):
        yield Definition("percentiles", metric, {"include_percentiles": True})


def _webhook(folder: Path, known: Mapping[str, Any]) -> Iterator[Definition]:
    """Yield the webhook that starts a training, if notify_drift has Datadog call it."""
    if f"@webhook-retrain-{known['service']}" not in known["notify_drift"].split():
        return
    body = retraining(folder)
    if "url" not in body:
        raise Invalid("notify_drift: there is no webhook for this CI system; see datadog/retrain")
    # Datadog's variables are those of the whole organisation, hence the name in front.
    name = known["service"].upper().replace("-", "_")
    body = {key: text.replace("$RETRAIN_", f"${name}_RETRAIN_") for key, text in body.items()}
    yield Definition("webhook", body["name"], body)
