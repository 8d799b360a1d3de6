"""What the store says of runs, models and deployments: JSON, each written once.

A damaged record is passed over with a warning: the others are as good as before.
"""

from __future__ import annotations

import msgspec

from pipeline.progress import warn
from pipeline.store import Corrupt, Record, Store
from service.artifact import File


class Snapshot(msgspec.Struct, frozen=True):
    """The data that a run works on, whenever it is resumed: `data/<data>` of the store."""

    data: str
    at: str


class StepDone(msgspec.Struct, frozen=True):
    """A step of a run; `run` is the one that made it, which may be an earlier one."""

    name: str
    key: str
    seconds: float
    where: str
    run: str


class Run(msgspec.Struct, frozen=True):
    """How a run went, from data and code to a verdict: its lineage.

    `status`: good, undecided, refused or nothing new. `data_code`: of what loads the data.
    `live`: the version that it was compared with. `files`: the sha256 of its pages, by name.
    """

    run: str
    status: str
    reason: str
    started: str
    seconds: float
    where: str
    version: str = ""
    live: str = ""
    commit: str | None = None
    dirty: bool | None = None
    code: str = ""
    data_code: str = ""
    data: str = ""
    rows: int = 0
    origin: str = ""
    parameters: dict[str, str] = {}
    packages: dict[str, str] = {}
    image: str = ""
    steps: list[StepDone] = []
    metrics: dict[str, float] = {}
    files: dict[str, str] = {}


class Verdict(msgspec.Struct, frozen=True):
    """`exit`: what the command ended with, for callers behind make, which has only 0 and 2."""

    status: str
    reason: str
    exit: int
    version: str = ""


class Failed(msgspec.Struct, frozen=True):
    """Why a run came to no verdict."""

    reason: str
    at: str


class Model(msgspec.Struct, frozen=True):
    """A packaged model: `files` by their names, the manifest among them."""

    version: str
    run: str
    files: dict[str, File]


class Deployment(msgspec.Struct, frozen=True):
    """Somebody let a model into an environment: the `number`th time that happened there."""

    env: str
    number: int
    version: str
    run: str
    tag: str
    by: str
    at: str


def model(store: Store, version: str) -> Model | None:
    """Return the newest attempt at a model of which no file is damaged; None if there is none."""
    for attempt in reversed(store.folders(f"models/{version}")):
        found = _read(store, f"models/{version}/{attempt}.json", Model)
        if found and _is_whole(store, found):
            return found
    return None


def run(store: Store, name: str) -> Run | None:
    return _read(store, f"runs/{name}/run.json", Run)


def failed(store: Store, name: str) -> Failed | None:
    return _read(store, f"runs/{name}/failed.json", Failed)


def maker(store: Store, version: str, name: str) -> Run | None:
    """Return the run that made a model; that of this name, its record's, may not have ended."""
    named = run(store, name) if name else None
    if named and named.version == version:
        return named
    made = (each for each in runs(store) if each.version == version)
    return next((each for each in made if each.status != "nothing new"), None)


def runs(store: Store) -> list[Run]:
    """Return all runs that ended, the newest first."""
    found = (run(store, name) for name in store.folders("runs"))
    return sorted(filter(None, found), key=lambda each: each.started, reverse=True)


def deployments(store: Store, env: str) -> list[Deployment]:
    """Return what was deployed to an environment, the first first."""
    found = (_read(store, path, Deployment) for path in store.paths(f"deployments/{env}"))
    return [each for each in found if each]


def _read(store: Store, path: str, kind: type[Record]) -> Record | None:
    try:
        return store.get_record(path, kind)
    except Corrupt as error:
        warn(f"{error}; passed over")
        return None


def _is_whole(store: Store, found: Model) -> bool:
    try:
        for file in found.files.values():
            store.get_hashed(file.path, file.sha256)
    except Corrupt as error:
        warn(f"{error}; passed over")
        return False
    return True
