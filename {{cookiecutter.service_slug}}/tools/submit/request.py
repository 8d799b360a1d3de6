"""What to train and where, as the variables of `make submit` say; checked before it starts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import datasets
from tools.programs import ToolError

VARIABLES = ("WHERE", "STORE", "RUN", "DATASET", "DATA", "JOB", "DATASETS")
MOST = 10_000  # jobs in one array, by AWS Batch
BUCKET = r"\w[\w.-]*(/[\w.-]+)*"
STORES = {"batch": f"s3://{BUCKET}", "k8s": f"(s3|az|gs)://{BUCKET}"}
SubmitError = ToolError


@dataclass(frozen=True)
class Datasets:
    """A list, one a line; `hash` is that of its content, by which it is kept."""

    path: Path
    names: list[str]
    hash: str


@dataclass(frozen=True)
class Request:
    """`job` is one that was started before and is to be followed; the others are "" or None then.

    `store` and `run` are "" for those that the place itself has set.
    """

    where: str
    store: str = ""
    run: str = ""
    dataset: str = ""
    data: str = ""
    job: str = ""
    datasets: Datasets | None = None

    @property
    def values(self) -> dict[str, str]:
        """What the job is to have in its environment."""
        return {"STORE": self.store, "RUN": self.run, "DATASET": self.dataset, "DATA": self.data}


def read(variables: Mapping[str, str]) -> Request:
    """Raises SubmitError for a value that will not do."""
    where, store, run, dataset, data, job, path = (variables.get(name, "") for name in VARIABLES)
    if where not in STORES:
        raise SubmitError(f"WHERE={where}: expected batch or k8s")
    if job and (store or run or dataset or data or path):
        raise SubmitError(f"JOB={job} was started before: leave STORE, RUN and data out")
    if dataset and path:
        raise SubmitError("DATASET is for one data set, DATASETS for a list: say one of them")
    _check("STORE", store, STORES[where], "an address that a job can reach, as s3://bucket/folder")
    _check("RUN", run, r"\w[\w.-]{0,99}", "letters, digits and . _ -, 100 at most")
    _check(
        "DATA", data, r"[\w./:@=,+* -]{1,1000}", "letters, digits, spaces and . / : @ = , + * _ -"
    )
    _check("JOB", job, r"\w[\w:.-]{0,127}", "what `make submit` called it")
    _check("DATASET", dataset, r"\w[\w.-]{0,99}", "letters, digits and . _ -, 100 at most")
    return Request(where, store, run, dataset, data, job, _datasets(path) if path else None)


def _check(name: str, value: str, pattern: str, wanted: str) -> None:
    if value and not re.fullmatch(pattern, value, re.ASCII):
        raise SubmitError(f"{name}={value}: expected {wanted}")


def _datasets(path: str) -> Datasets:
    try:
        content = Path(path).read_bytes()
        names = datasets.names(content.decode())
    except OSError as error:
        raise SubmitError(f"DATASETS={path}: {error.strerror}") from None
    except ValueError as error:  # a UnicodeDecodeError is one
        raise SubmitError(f"DATASETS={path}: {error}") from None
    if not 2 <= len(names) <= MOST:
        raise SubmitError(
            f"DATASETS={path}: an array has 2 to {MOST:,} data sets, not {len(names):,}; "
            "for one, say DATASET"
        )
    return Datasets(Path(path), names, hashlib.sha256(content).hexdigest())
