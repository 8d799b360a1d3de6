"""Show what would change in Datadog (plan), or change it (apply)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tools.datadog.api import Held, Kind, Later, kinds
from tools.datadog.changes import changes
from tools.datadog.definitions import Invalid, definitions, fill, values

# What to do about a status with which Datadog refuses.
HINTS = {
    401: "is DD_API_KEY a key of this site (DD_SITE)?",
    403: "may DD_APP_KEY's owner write dashboards, monitors, SLOs, metric tags and the catalog, "
    "and are the keys of this site (DD_SITE)?",
    429: "too many requests to Datadog from your organisation; try again in a minute",
}
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Step:
    """What happens to one object: + created, ~ updated, = as it should be, ? left as it is."""

    sign: str
    what: str
    lines: Sequence[str] = ()


class DatadogError(Exception):
    """Datadog refused, or did not answer; the message is one line."""


def main(arguments: Sequence[str] | None = None, configuration: Configuration | None = None) -> int:
    """Run the command and return its exit code: 1 if Datadog refuses, 2 if it cannot be asked."""
    parser = argparse.ArgumentParser(prog="python -m tools.datadog", description=__doc__)
    parser.add_argument("command", choices=["plan", "apply"])
    command = parser.parse_args(arguments).command
    try:
        configuration = configuration or configured(os.environ)
        with ApiClient(configuration) as client:
            return run(client, apply=command == "apply")
    except Invalid as error:
        print(f"datadog: {error}", file=sys.stderr)
        return 2
    except DatadogError as error:
        print(f"datadog: {error}", file=sys.stderr)
        return 1


def configured(environ: Mapping[str, str]) -> Configuration:
    """Return the client's configuration. Raises Invalid for a missing key or an unknown site."""
    if missing := [name for name in ("DD_API_KEY", "DD_APP_KEY") if not environ.get(name)]:
        raise Invalid(
            f"set {' and '.join(missing)} (Datadog: Organization Settings, API and application "
            f"keys), and DD_SITE unless it is datadoghq.com"
        )
    keys = {"apiKeyAuth": environ["DD_API_KEY"], "appKeyAuth": environ["DD_APP_KEY"]}
    configuration = Configuration(api_key=keys)
    configuration.server_variables["site"] = environ.get("DD_SITE") or "datadoghq.com"
    try:
        configuration.get_host_from_settings(0, configuration.server_variables)
    except ValueError as error:
        raise Invalid(f"DD_SITE: {error}") from None
    return configuration


def run(client: ApiClient, apply: bool) -> int:
    """Compare, print and, if asked to, write. Raises Invalid or DatadogError."""
    client.configuration.preload_content = False  # answers are read as plain JSON, see api.py
    client.configuration.request_timeout = TIMEOUT_SECONDS
    client.configuration.is_iac = True
    counts = dict.fromkeys("+~=?", 0)
    for step in steps(client, apply):
        counts[step.sign] += 1
        print(f"{step.sign} {step.what}", *step.lines, sep="\n    ", flush=True)
    created, updated = ("created", "updated") if apply else ("to create", "to update")
    print(f"{counts['+']} {created}, {counts['~']} {updated}, {counts['=']} as they should be")
    return 0


def steps(client: ApiClient, apply: bool) -> Iterator[Step]:
    """Yield what happens to each object, after it has happened."""
    known, wanted = values(), definitions()
    kinds_by_name = kinds(client, known)
    for one in wanted:  # all of them, before anything is written
        kinds_by_name[one.kind].check(one.name, one.body)
    for kind, objects in kinds_by_name.items():
        bodies = {one.name: one.body for one in wanted if one.kind == kind}
        with asking(f"looking for what is there, {kind}"):
            there = objects.held(bodies)
        for name, body in bodies.items():
            step, id = settle(objects, name, fill(body, known, name), there.get(name), apply)
            if kind == "slo" and id:
                known["slo_id"] = id
            yield step
        for name in there.keys() - bodies.keys():
            where = "in Datadog, and no longer in datadog/: remove it there if nobody wants it"
            yield Step("?", f"{kind} {name}", [where])


def settle(
    objects: Kind, name: str, body: dict[str, Any], held: Held | None, apply: bool
) -> tuple[Step, str | None]:
    """Return what an object needs, and its id if it has one; with `apply`, do it."""
    what = f"{objects.kind} {name}"
    with asking(what):
        if held is None:
            try:
                return Step("+", what), objects.create(name, body) if apply else None
            except Later as error:
                return Step("?", what, [str(error)]), None
        difference = changes(body, held.body)
        if difference and apply:
            objects.update(name, held.id, body)
        return Step("~" if difference else "=", what, difference), held.id


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the client's exceptions into a DatadogError that names the object."""
    try:
        yield
    except ApiException as error:
        hint = HINTS.get(error.status, "")
        raise DatadogError(
            f"{what}: Datadog answered {reason(error)}{hint and ' - ' + hint}"
        ) from None
    except HTTPError as error:
        raise DatadogError(
            f"{what}: no answer from Datadog: {' '.join(str(error).split())}"
        ) from None


def reason(error: ApiException) -> str:
    """Return what Datadog said in one line."""
    errors = error.body.get("errors", error.body) if isinstance(error.body, dict) else error.body
    said = errors if isinstance(errors, list) else [errors]
    texts = [str(one.get("detail") or one) if isinstance(one, dict) else str(one) for one in said]
    return " ".join(f"{error.status} {error.reason}: {'; '.join(texts)}".split())[:500]


if __name__ == "__main__":
    sys.exit(main())
