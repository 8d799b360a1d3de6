"""infra/azure: what checkov finds, and whether all that the template refers to is there.

Azure itself has not seen it. It fits the schemas that Azure publishes, too large to keep here.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import TEMPLATE, edit
from test_manifests import checker

PATH = TEMPLATE / "infra" / "azure" / "base.json"
ROLES = {
    "8311e382-0749-4cb8-b61a-304f252e45ec",  # AcrPush
    "7f951dda-4ed3-4680-a7ca-43fe172d538d",  # AcrPull
}
# Each with the reason why it is not followed.
EXCEPTED = {
    "CKV_AZURE_35": "agents and laptops have no fixed address; keys do not work, identities do",
    "CKV_AZURE_36": "the same",
    "CKV_AZURE_139": "the same, for the registry",
    "CKV_AZURE_166": "quarantine is a preview, of the registry's dearest kind",
    "CKV_AZURE_206": "three zones of one region are enough for what can be trained again",
    "CKV_AZURE_43": "the name is a parameter, which it does not follow",
}


def dangling(path: Path) -> list[str]:
    """Return the names that are used and not declared, or declared and not used."""
    template: dict[str, Any] = json.loads(path.read_text())
    text = json.dumps(template)
    found = []
    for kind in ("parameters", "variables"):
        used = set(re.findall(rf"{kind}\('(\w+)'\)", text))
        found += sorted(used ^ set(template[kind]))
    kinds = {resource["type"] for resource in template["resources"]}
    found += [name for name in re.findall(r" resourceId\('([^']+)'", text) if name not in kinds]
    for resource in template["resources"]:
        for needed in resource.get("dependsOn", ()):
            name = re.match(r"\[resourceId\('([^']+)'", needed)
            if name and name[1] not in kinds:
                found.append(needed)
    ids = re.findall(r"roleDefinitions', '([^']+)'", text)
    return found + [each for each in ids if each not in ROLES]


def test_all_that_it_refers_to_is_there() -> None:
    assert dangling(PATH) == []


def test_checkov_finds_nothing() -> None:
    command = [checker("checkov"), "--skip-download", "--quiet", "--compact", "--framework", "arm"]
    command += ["--skip-check", ",".join(EXCEPTED), "--file", str(PATH)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


MISTAKES = {
    "a parameter": ("parameters('keepDays')", "parameters('keepDay')"),
    "a variable": ("variables('push')", "variables('psuh')"),
    "a declaration": ('"subject": {', '"subjects": {'),
    "a role": ("8311e382", "8311e383"),
    "what comes first": (
        "[resourceId('Microsoft.Storage/storageAccounts', ",
        "[resourceId('Microsoft.Storage/storageAccount', ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(PATH.read_text())
    edit(path, *MISTAKES[mistake])
    assert dangling(path)
