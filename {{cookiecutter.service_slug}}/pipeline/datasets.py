"""Many data sets, a model each: which of them this process is for.

load_data reads its name from the environment, DATASET. Each has a folder of the store to itself,
and with it its own runs, live model and deployments.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.store import Store

# What array jobs of AWS Batch and Indexed Jobs of Kubernetes call a job's number, from 0.
INDEXES = ("AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX")
FOLDER = "datasets"  # of the store: lists, each called by its hash


def opened(to_read: bool) -> Store:
    """Return the store that the environment's STORE says, runs/ by default.

    Raises StoreMisused and StoreError.
    """
    from pipeline.store import Store, StoreMisused

    url = store(os.environ.get("STORE") or "runs")
    # A store is made by whoever trains: one that is looked for may be misspelt.
    if to_read and "://" not in url and not os.path.isdir(os.path.expanduser(url)):
        raise StoreMisused(f"{url}: there is no such folder; make train makes it")
    return Store(url)


def store(url: str) -> str:
    """Return the address of the data set's own store; `url` itself if there is but one data set.

    DATASETS is a list, a file here or an object in the store, of which a job of an array takes the
    line of its number; it sets DATASET, and adds the number to RUN.

    Raises StoreMisused and StoreError.
    """
    # Imported here, because `make submit` reads lists where no package is installed.
    from pipeline.store import StoreMisused

    index = next((os.environ[name] for name in INDEXES if os.environ.get(name)), "")
    try:
        if (path := os.environ.get("DATASETS")) and not os.environ.get("DATASET"):
            if not index:
                raise ValueError("DATASETS is for the jobs of an array: say which by DATASET")
            os.environ["DATASET"] = names(_read(url, path))[int(index)]
            if run := os.environ.get("RUN"):
                os.environ["RUN"] = f"{run}-{index}"
        if name := os.environ.get("DATASET"):
            return f"{url.rstrip('/')}/{checked(name)}"
    except IndexError:
        raise StoreMisused(f"DATASETS={path}: it has no line for job {index}") from None
    except ValueError as error:
        raise StoreMisused(str(error)) from None
    return url


def names(text: str) -> list[str]:
    """Return the data sets of a list, one on each line; raises ValueError for a wrong one."""
    found = [checked(line.strip()) for line in text.splitlines() if line.strip()]
    if twice := [name for name, count in Counter(found).items() if count > 1]:
        raise ValueError(f"data set {twice[0]!r} is there twice")
    return found


def checked(name: str) -> str:
    """Return the name of a data set; raises ValueError if it cannot be that of a folder."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):
        raise ValueError(f"data set {name!r}: expected letters, digits and . _ -, 100 at most")
    return name


def _read(url: str, path: str) -> str:
    from pipeline.store import Store

    if Path(path).is_file():
        return Path(path).read_text()
    content = Store(url).get(path)
    if content is None:
        raise ValueError(f"DATASETS={path}: neither a file nor in the store")
    if hashlib.sha256(content).hexdigest() != Path(path).stem:
        raise ValueError(f"DATASETS={path}: not as it was written: submit the list again")
    return bytes(content).decode()
