"""What a step leaves in the store, and how Luigi sees that it is there."""

from __future__ import annotations

import os
import platform
import uuid
from datetime import UTC, datetime
from typing import Any

import luigi
import msgspec

from pipeline import values
from pipeline.store import Corrupt, Store
from pipeline.values import Part

# What a scheduler calls the job, or the pod, that this runs in.
JOBS = ("AWS_BATCH_JOB_ID", "POD_NAME")


class Made(msgspec.Struct, frozen=True):
    """How a checkpoint came to be. `seconds`: what making it took."""

    parts: list[Part]
    run: str
    at: str
    seconds: float
    where: str


class Checkpoint(luigi.Target):
    """A value in a folder of the store, made once.

    Each attempt writes objects of its own, the record last; so one that was killed leaves nothing
    that counts. An attempt that was damaged since is marked, and made again beside it.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self.folder = folder
        self._store = store

    def exists(self) -> bool:
        return self._attempt() is not None

    def made(self) -> Made:
        """Return the record; raises Corrupt if it was altered."""
        attempt = self._attempt()
        found = attempt and self._store.get_record(f"{self.folder}/{attempt}.json", Made)
        if not found:
            raise Corrupt(f"{self.folder}/")
        return found

    def read(self) -> Any:
        """Return the value; raises Corrupt if any of it was altered."""
        return values.read(self._store, self.made().parts)

    def write(self, value: Any, run: str, seconds: float) -> None:
        attempt = f"{self.folder}/{uuid.uuid4().hex[:12]}"
        parts = values.write(self._store, attempt, value)
        made = Made(parts, run, now(), seconds, where())
        self._store.put_record(f"{attempt}.json", made)

    def spoil(self) -> None:
        """Mark the attempt that counts as damaged, so that it is made again."""
        if attempt := self._attempt():
            self._store.put(f"{self.folder}/{attempt}.spoilt", b"")

    def _attempt(self) -> str | None:
        names = {path.rpartition("/")[2] for path in self._store.paths(self.folder)}
        made = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
        return next((name for name in made if f"{name}.spoilt" not in names), None)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def where() -> str:
    """Return the machine, and the job on it if there is one."""
    job = next((os.environ[name] for name in JOBS if os.environ.get(name)), "")
    return f"{platform.node()} {job}".strip()
