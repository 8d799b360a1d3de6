"""`make manifests`: what each environment's overlay comes to, held to the schemas of Kubernetes.

Needs no cluster. Kinds that Kubernetes does not bring itself have no schema here, and are named.
"""

from __future__ import annotations

import sys
from typing import Any

import kubernetes_validate
import yaml

from tools.deploy.release import OVERLAYS
from tools.deploy.service import DeployError
from tools.programs import output

Json = dict[str, Any]
VERSION = kubernetes_validate.latest_version()


def main() -> None:
    wrong: list[str] = []
    try:
        for overlay in sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml")):
            rendered = output("kubectl", "kustomize", str(overlay))
            wrong += [f"{overlay.name}: {line}" for line in check(overlay.name, rendered)]
    except DeployError as error:
        sys.exit(f"\nnot done: {error}")
    if wrong:
        sys.exit("\n".join(wrong))


def check(env: str, rendered: str) -> list[str]:
    """Say how many objects are valid; return a line for each that is not."""
    objects: list[Json] = list(yaml.safe_load_all(rendered))
    wrong, unknown = [], []
    for item in objects:
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            kubernetes_validate.validate(item, VERSION, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.append(name)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.absolute_path))
            wrong.append(f"{name}: {path}: {' '.join(error.message.split())}"[:300])
    valid = len(objects) - len(wrong) - len(unknown)
    others = f"; not checked, since Kubernetes has no such kind: {', '.join(unknown)}"
    print(f"{env}: {valid} objects valid for Kubernetes {VERSION}{others if unknown else ''}")
    return wrong


if __name__ == "__main__":
    main()
