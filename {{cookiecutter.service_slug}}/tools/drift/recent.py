"""A file of recent inputs against those that the model of artifact/ learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from msgspec.structs import replace

from service.artifact import Input, read_manifest
from service.errors import ROOT, RequestError
from service.schema import Schema, rows_of
from tools.drift import DriftError, Found
from training.validation import validate

HEAD = ("input", "finding")
NO_FINDING = "as in training"


def check(path: Path, artifact: Path = ROOT / "artifact") -> Found:
    """Raises DriftError for a file that cannot be read, and Refusal without an artifact."""
    manifest = read_manifest(artifact)
    try:
        instances = _instances(path, manifest.inputs)
    except (OSError, ValueError, ImportError) as error:
        raise DriftError(f"DATA={path}: {' '.join(str(error).split())}") from None
    if not instances:
        raise DriftError(f"DATA={path}: has no rows")
    there = {name for instance in instances for name in instance}
    inputs = [_lenient(item) for item in manifest.inputs if item.name in there]
    try:
        rows = rows_of(inputs, instances)
    except RequestError as error:
        raise DriftError(f"DATA={path}: {error}") from None
    frame = Schema(inputs, max_instances=len(rows)).frame(rows)
    found = validate(manifest, inputs, frame)
    differ = {finding.column for finding in found}
    lines = [(finding.column, finding.line) for finding in found]
    lines += [(item.name, NO_FINDING) for item in inputs if item.name not in differ]
    return Found(HEAD, lines, bool(found))


def _instances(path: Path, inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """Return the rows of a file as instances of a request; what is no input is left out."""
    names = [item.name for item in inputs]
    if path.suffix in (".csv", ".parquet"):
        frame = _csv(path, inputs) if path.suffix == ".csv" else pd.read_parquet(path)
        frame = frame[[name for name in names if name in frame]].astype(object)
        rows: list[dict[Any, Any]] = frame.where(frame.notna(), None).to_dict("records")
        return [{str(k): _plain(v) for k, v in row.items()} for row in rows]
    lines = path.read_bytes().splitlines()
    return [_instance(i, line, names) for i, line in enumerate(lines, 1) if line.strip()]


def _instance(number: int, line: bytes, names: Sequence[str]) -> dict[str, Any]:
    try:
        one = msgspec.json.decode(line, type=dict[str, Any] | list[Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"line {number}: expected an instance as JSON: {error}") from None
    if isinstance(one, list):
        if len(one) != len(names):
            raise ValueError(f"line {number}: expected {len(names)} values, got {len(one)}")
        one = dict(zip(names, one, strict=True))
    return {name: one[name] for name in names if name in one}


def _csv(path: Path, inputs: Sequence[Input]) -> pd.DataFrame:
    """Return a table whose words stay words, though they may look like numbers."""
    words = {item.name: str for item in inputs if item.type == "string"}
    there = pd.read_csv(path, nrows=0).columns
    dates = [item.name for item in inputs if item.type == "datetime" and item.name in there]
    return pd.read_csv(path, dtype=words, parse_dates=dates)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def _lenient(item: Input) -> Input:
    """Return an input that takes gaps and words that training did not see: they are findings."""
    whole = "UInt64" if item.dtype.lower() == "uint64" else "Int64"
    kinds = {"int": whole, "bool": "boolean", "string": "object"}
    return replace(item, nullable=True, dtype=kinds.get(item.type, item.dtype))
