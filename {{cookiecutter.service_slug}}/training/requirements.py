"""What requirements.txt says: what production has installed, and whether versions are fixed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from training.errors import TrainingError

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"===?\s*([^*,\s]+)")


def read(path: Path) -> Iterator[Requirement]:
    """Yield what a requirements file asks for on this machine; raises TrainingError."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if line.startswith(("-r ", "--requirement ")):
            yield from read(path.parent / line.split()[1])
        elif line and not line.startswith("-"):
            try:
                found = Requirement(re.split(r"\s--", line)[0])
            except InvalidRequirement:
                raise TrainingError(
                    f"{path.name}: {line!r} has no name: write it as `name @ {line}`"
                ) from None
            if not found.marker or found.marker.evaluate():
                yield found


def installed(path: Path = ROOT / "requirements.txt") -> set[str]:
    """Return the normalised names of the packages that a requirements file brings, and they need.

    Raises TrainingError for a line that cannot be read.
    """
    asked = list(read(path))
    done = set()
    while asked:
        wanted = asked.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in done:
            continue
        done.add(key)
        try:
            needs = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:
            continue  # made for another system
        for need in map(Requirement, needs):
            marker = need.marker
            if not marker or any(marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
                asked.append(need)
    return {name for name, _ in done}


def not_fixed(folder: Path = ROOT) -> Iterator[str]:
    """Yield a line for each requirement whose version the image may not share with training."""
    lock = folder / "requirements.lock"
    pins = re.findall(r"^([^\s=\[]+)\S*?==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    locked = {canonicalize_name(name): version for name, version in pins}
    for wanted in read(folder / "requirements.txt"):
        name = canonicalize_name(wanted.name)
        pin = PIN.fullmatch(str(wanted.specifier))
        if not pin and not wanted.url:
            here = metadata.version(name)
            yield f"requirements.txt does not pin {name}: write {name}=={here}, then `make lock`"
        elif name not in locked or (pin and locked[name] != pin[1]):
            yield f"requirements.lock does not have {wanted}: run `make lock`"
