"""Many data sets: which of them a job of an array takes, and where it keeps what it finds."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from pipeline import datasets
from pipeline.store import Store, StoreMisused


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATASET", "DATASETS", "RUN", *datasets.INDEXES):
        monkeypatch.delenv(name, raising=False)
    # So that what `store` sets is taken back, too.
    monkeypatch.setattr(os, "environ", os.environ.copy())


def listed(store: Path, content: bytes) -> str:
    """Put a list into a store; return its path there."""
    path = f"datasets/{hashlib.sha256(content).hexdigest()}.txt"
    Store(str(store)).put(path, content)
    return path


def test_one_data_set_has_the_whole_store() -> None:
    assert datasets.store("s3://bucket/model") == "s3://bucket/model"


@pytest.mark.parametrize("index", datasets.INDEXES)
def test_a_job_of_an_array_takes_its_line(index: str, tmp_path: Path) -> None:
    # As `make submit` keeps it for AWS Batch, and as Kubernetes mounts it.
    path = listed(tmp_path, b"acme\n\nglobex\n")
    for list_of_them in (path, f"{tmp_path}/{path}"):
        os.environ |= {"DATASETS": list_of_them, index: "1", "RUN": "r"}
        assert datasets.store(f"{tmp_path}/") == f"{tmp_path}/globex"
        assert (os.environ["DATASET"], os.environ["RUN"]) == ("globex", "r-1")
        del os.environ["DATASET"]


def test_a_data_set_by_its_name_needs_no_list(tmp_path: Path) -> None:
    os.environ |= {"DATASET": "acme", "RUN": "r"}
    assert datasets.store("gs://bucket") == "gs://bucket/acme"
    assert os.environ["RUN"] == "r"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"DATASET": "../live"}, "data set '../live': expected letters"),
        ({"DATASETS": "list"}, "DATASETS is for the jobs of an array: say which by DATASET"),
        ({"DATASETS": "list", "AWS_BATCH_JOB_ARRAY_INDEX": "2"}, "it has no line for job 2"),
        ({"DATASETS": "altered", "JOB_COMPLETION_INDEX": "0"}, "altered: not as it was written"),
        ({"DATASETS": "none", "JOB_COMPLETION_INDEX": "0"}, "none: neither a file nor in the st"),
    ],
)
def test_what_cannot_be_a_data_set(variables: dict[str, str], reason: str, tmp_path: Path) -> None:
    path = listed(tmp_path, b"acme\nglobex")
    Store(str(tmp_path)).put("altered", b"acme\nglobe")
    os.environ |= variables | ({"DATASETS": path} if variables.get("DATASETS") == "list" else {})
    with pytest.raises(StoreMisused, match=reason):
        datasets.store(str(tmp_path))
