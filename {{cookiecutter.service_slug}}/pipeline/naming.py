"""What a run is called: whoever starts the same job again resumes the same run."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from pipeline.checkpoint import now, where
from pipeline.store import Corrupt, Store, StoreMisused

# Where a run's name comes from, and what is put before it: what schedulers and CI systems call a
# job is the same when it is run again.
NAMES = {
    "RUN": "",
    "AWS_BATCH_JOB_ID": "batch-",
    "GITHUB_RUN_ID": "github-",
    "CI_PIPELINE_ID": "gitlab-",
    "BUILD_TAG": "",  # Jenkins; it begins with "jenkins"
    "BUILD_BUILDID": "azure-",
    "CODEBUILD_BUILD_ID": "codebuild-",
}
LONGEST = 200  # of a name; files have 255, and Jenkins' names of jobs are long


class Started(msgspec.Struct, frozen=True):
    """The first object of a run. `code` is that of model.py, `process` that which is at it."""

    code: str
    at: str
    where: str = ""
    process: int = 0

    @property
    def is_killed(self) -> bool:
        """Tell whether it was at work on this machine, and is no more."""
        if self.where != where():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return self.process == os.getpid()  # another process's number, now ours, as in containers


def cleaned(variable: str, value: str) -> str:
    """Return a value as the name of a folder in the store; raises StoreMisused if it has no such.

    The same for all who write or look there: a run of RUN="week 3" is found by "week 3".
    """
    name = re.sub(r"[^\w.-]+", "-", value, flags=re.ASCII).strip("-.")
    if not 0 < len(name) <= LONGEST:
        raise StoreMisused(
            f"{variable}={value}: expected letters, digits and . _ -, {LONGEST} at most"
        )
    return name


def run_name(store: Store, code: str) -> str:
    """Return what this run is called, and note that it has started.

    RUN says it, else the job's own name, else the date and a number: the last one's again if that
    was killed on this machine and the code is the same. Raises StoreMisused for a name that no run
    can have.
    """
    if variable := next((name for name in NAMES if os.environ.get(name)), ""):
        name = NAMES[variable] + cleaned(variable, os.environ[variable])
        store.put_record(f"runs/{name}/started.json", _started(code))
        return name
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    numbers = [found[11:] for found in store.folders("runs") if found.startswith(f"{today}.")]
    number = max((int(text) for text in numbers if text.isdecimal()), default=0)
    if number:
        name = f"{today}.{number}"
        starts = [path for path in store.paths(f"runs/{name}") if "/started" in path]
        ended = {f"runs/{name}/{file}" for file in ("run.json", "failed.json")}
        with suppress(Corrupt):
            started = store.get_record(starts[-1], Started) if starts else None
            known = {*store.paths(f"runs/{name}")}
            if started and started.code == code and started.is_killed and not ended & known:
                again = f"runs/{name}/started.{len(starts)}.json"
                if store.put_record(again, _started(code)):
                    return name
    while True:
        number += 1
        name = f"{today}.{number}"
        if store.put_record(f"runs/{name}/started.0.json", _started(code)):
            return name


def _started(code: str) -> Started:
    return Started(code, now(), where(), os.getpid())
