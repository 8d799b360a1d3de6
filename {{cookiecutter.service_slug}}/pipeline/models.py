"""Packaged models in the store: the artifact, and the code that answers, to run it again.

An attempt writes objects of its own, in `models/<version>/<attempt>/`, so that a damaged model can
be written again. Its record, `<attempt>.json`, is written last; what no record names is not read.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

import msgspec

from pipeline import records
from pipeline.records import Model
from pipeline.store import Store
from service import artifact
from service.artifact import File, Manifest

ARTIFACT, CODE = "artifact/", "code/"


def write(store: Store, version: str, run: str, contents: dict[str, bytes]) -> None:
    """Write a model to the store unless it is there, undamaged.

    `contents` are by name: those of the artifact and of the code in folders of their own.
    """
    if records.model(store, version):
        return  # it is as good: what makes a model what it is, is in the version
    # Sorted by name, attempts are sorted by time.
    attempt = f"models/{version}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
    files = {}
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        files[name] = File(path=f"{attempt}/{name}", sha256=digest, bytes=len(content))
        store.put(files[name].path, content)
    store.put_record(f"{attempt}.json", Model(version, run, files))


def contents(store: Store, record: Model, folder: str) -> dict[str, bytes]:
    """Return a model's files in ARTIFACT or CODE, by name; raises Corrupt if any is damaged."""
    names = [name for name in record.files if name.startswith(folder)]
    return {name.removeprefix(folder): read(store, record, name) for name in names}


def manifest(store: Store, record: Model) -> Manifest:
    return msgspec.json.decode(read(store, record, f"{ARTIFACT}{artifact.MANIFEST}"), type=Manifest)


def read(store: Store, record: Model, name: str) -> bytes:
    """Return a file of a model; raises Corrupt if it is missing or was altered."""
    file = record.files[name]
    return bytes(store.get_hashed(file.path, file.sha256))
