"""The artifact: what training hands to serving, and how serving knows that it is intact.

A folder with `manifest.json` and the files it names, which training/package.py writes.
"""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from service.errors import Refusal
from service.source import edited

FORMAT = 2
MANIFEST = "manifest.json"
# What decides, with the packages of the model's classes, whether a pickle still means the same.
RUNTIME_PACKAGES = ("scikit-learn", "numpy", "joblib", "pandas")

Type = Literal["float", "int", "bool", "string", "datetime"]


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read-only, and strict when read back."""


class File(_Struct, frozen=True):
    path: str
    sha256: str
    bytes: int


class Source(_Struct, frozen=True):
    """The code that trained: the commit, whether files differed from it, and what answers.

    `modules` are model.py and the files of its folder that it imports, `sha256` is their
    fingerprint (service/source.py).
    """

    git_sha: str | None
    dirty: bool | None
    sha256: str
    modules: list[str]


class Data(_Struct, frozen=True):
    origin: str
    rows: int
    sha256: str


class Input(_Struct, frozen=True):
    """A column of the frame that the model gets. Numbers have a range; few strings are listed.

    `categories` of a categorical column are those of its dtype, in order; `ordered`: that order
    means something. `public`: False for free text, whose values no page may show.
    """

    name: str
    type: Type
    dtype: str
    nullable: bool
    minimum: float | None = None
    maximum: float | None = None
    categories: list[str] | None = None
    ordered: bool = False
    public: bool = True


class Output(_Struct, frozen=True):
    """A field of the answers.

    `items`: what a list has for elements, or an object for values. `public`: False for free text,
    whose values no page may show.
    """

    name: str
    type: Literal["float", "int", "bool", "string", "datetime", "list", "object"]
    nullable: bool = False
    items: Literal["float", "int", "bool", "string"] | None = None
    public: bool = True


class Outputs(_Struct, frozen=True):
    """`kind` is "other" if the answers were compared with no truth."""

    kind: Literal["classification", "regression", "other"]
    classes: list[str | int | float | bool]
    fields: list[Output]


class Histogram(_Struct, frozen=True):
    """Counts between `edges` (one more than counts) for numbers, per value for the rest."""

    counts: list[int]
    edges: list[float] | None = None
    values: list[str] | None = None
    nulls: int = 0


class Baseline(_Struct, frozen=True):
    """How inputs and answers were distributed at training time, for drift."""

    inputs: dict[str, Histogram]
    outputs: dict[str, Histogram]


class Golden(_Struct, frozen=True):
    """Held-out instances and the answers the model gave to them at training time."""

    instances: list[dict[str, Any]]
    predictions: list[dict[str, Any]]


class Manifest(_Struct, frozen=True):
    """`per_worker`: the model has threads that a fork loses, so each worker has to load it."""

    format: int
    name: str
    version: str
    created_at: str
    files: dict[Literal["model", "card"], File]
    runtime: dict[str, str]
    source: Source
    data: Data
    seed: int
    inputs: list[Input]
    outputs: Outputs
    metrics: dict[str, float]
    gates: list[str]
    baseline: Baseline
    golden: Golden
    per_worker: bool = False


def runtime_versions(packages: Iterable[str] = RUNTIME_PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the artifact in `folder`; raises Refusal if there is none to trust."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror or error}; run `make train` first") from None
    try:
        version = msgspec.json.decode(content, type=dict[str, Any]).get("format")
        if version != FORMAT:
            raise Refusal(f"{path}: format {version}, this service reads {FORMAT}; train again")
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"{path}: not a manifest: {error}") from None


def public(manifest: Manifest) -> dict[str, Any]:
    """Return what everybody may see of the manifest: no rows, no values of free text."""
    found: dict[str, Any] = msgspec.to_builtins(manifest)
    del found["golden"]
    for item in found["inputs"]:
        if not item["public"]:
            item["categories"] = None
    return found


def read_card(folder: Path, manifest: Manifest) -> bytes:
    return _verified(folder, manifest.files["card"])


def load_model(folder: Path, manifest: Manifest) -> Any:
    """Unpickle the model, having checked first that it is the file that training wrote.

    Loading a pickle runs code from it, so no byte is unpickled before the hash is right; and a
    model may load and answer wrongly with other versions, or with other code around it, so those
    are refused too. Raises Refusal.
    """
    content = _verified(folder, manifest.files["model"])
    check_runtime(manifest.runtime, runtime_versions(manifest.runtime))
    if reason := edited(manifest.source.sha256):
        raise Refusal(f"{reason}; run `make train`")
    import joblib

    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        path = manifest.files["model"].path
        raise Refusal(f"{folder / path}: cannot be loaded: {reason}") from error


def _verified(folder: Path, file: File) -> bytes:
    """Return a file's content, once its hash is right. A file that is read twice may change."""
    path = folder / Path(file.path).name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror or error}; train again") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise Refusal(
            f"{path}: sha256 {digest[:12]}… ({len(content)} bytes), but the manifest says "
            f"{file.sha256[:12]}… ({file.bytes} bytes); the file was altered or cut short"
        )
    return content


def check_runtime(trained: dict[str, str], here: dict[str, str]) -> None:
    """Raise Refusal for other versions than trained with; Python may differ in patch level."""
    for name, want in trained.items():
        version = here.get(name, "nothing")
        if name == "python":
            version, want = (".".join(v.split(".")[:2]) for v in (version, want))
        if version != want:
            raise Refusal(
                f"trained with {name} {want}, but {version} is here; install it or train again"
            )
