"""Show what would change in Datadog (plan), or change it (apply)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datadog_api_client import ApiClient, Configuration

from tools.command import Parser
from tools.datadog.api import kinds
from tools.datadog.changes import changes
from tools.datadog.client import DatadogError, asking, configured, connected
from tools.datadog.definitions import Invalid, definitions, fill, values
from tools.datadog.kind import Held, Kind, Later


@dataclass(frozen=True)
class Step:
    """What happens to one object: + created, ~ updated, = as it should be, ? left as it is."""

    sign: str
    what: str
    lines: Sequence[str] = ()


def main(arguments: Sequence[str] | None = None, configuration: Configuration | None = None) -> int:
    """Run the command and return its exit code: 1 if Datadog refuses, 2 if it cannot be asked."""
    parser = Parser("tools.datadog", __doc__, "datadog")
    parser.add_argument("command", choices=["plan", "apply"])
    command = parser.parse_args(arguments).command
    try:
        with connected(configuration or configured(os.environ)) as client:
            return run(client, apply=command == "apply")
    except Invalid as error:
        print(f"datadog: {error}", file=sys.stderr)
        return 2
    except DatadogError as error:
        print(f"datadog: {error}", file=sys.stderr)
        return 1


def run(client: ApiClient, apply: bool) -> int:
    """Compare, print and, if asked to, write. Raises Invalid or DatadogError."""
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


if __name__ == "__main__":
    sys.exit(main())
