"""requirements.lock: what the image gets is what requirements.txt says."""

from __future__ import annotations

import re

from tools.deploy.service import ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    found = PIN.findall((ROOT / name).read_text())
    return {re.sub(r"[._-]+", "-", package).lower(): version for package, version in found}


def test_lock_has_every_requirement_at_its_version() -> None:
    wanted = pins("requirements.txt")
    assert wanted
    assert wanted.items() <= pins("requirements.lock").items(), "run `make lock`"


def test_everything_has_hashes() -> None:
    entries = (ROOT / "requirements.lock").read_text().split("\n    # via")
    assert all("--hash=sha256:" in entry for entry in entries if PIN.search(entry))
