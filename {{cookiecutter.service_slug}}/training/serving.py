"""What serving lacks, training notices: before an artifact becomes current, it is served once.

In a process of its own, which starts as a service does and in which only the packages of
requirements.txt can be imported: not those that training or development bring besides.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from gevent.exceptions import LoopExit
from packaging.utils import canonicalize_name

from service.arbiter import START_SECONDS
from training.errors import TrainingError
from training.requirements import ROOT, installed
from training.threads import TOO_EARLY, lost_by_fork, own_megabytes, refuse_pools

REFUSED = 3  # the exit code of the fresh process


@dataclass(frozen=True)
class Served:
    """What a start of the service showed.

    `runtime`: the versions of Python and of all packages that the model's classes come from, or
    that the code beside it uses. `lost_threads`: how many would not survive a fork; `megabytes`:
    what the model and its packages take.
    """

    runtime: dict[str, str]
    lost_threads: int
    megabytes: int

    @property
    def note(self) -> str:
        """What the owner should know of it, in a line, or ""."""
        if not self.lost_threads:
            return ""
        return (
            f"loading starts {self.lost_threads} threads, which no fork brings along, so each "
            f"worker loads the model by itself: {self.megabytes} MB for each"
        )


def served(folder: Path) -> Served:
    """Start the service on the artifact in `folder`; raises TrainingError if it would not start."""
    command = [sys.executable, "-m", "training.serving", str(folder)]
    done = subprocess.Popen(
        command,
        cwd=ROOT,
        # OpenMP's threads belong to the thread that makes them work. Those that loading needs are
        # no loss to the service, which predicts in another; so let there be none to count.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = done.communicate(timeout=START_SECONDS)
    except subprocess.TimeoutExpired:
        raise TrainingError(
            f"served, this model would not answer within {START_SECONDS} s: see what predict waits "
            "for (multiprocessing.Pool waits for ever there; a pool of concurrent.futures that "
            "predict makes by itself does not)"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(done.pid, signal.SIGKILL)  # what predict has started, too
    if done.returncode:
        # Refused, it says why last; ended otherwise, it may have said anything.
        said = output if done.returncode == REFUSED else errors
        raise TrainingError([f"it ended with {done.returncode}", *said.strip().splitlines()][-1])
    return Served(**json.loads(output.splitlines()[-1]))


class Production(PathFinder):
    """Finds modules as Python does, but for those of `hidden` packages."""

    hidden: set[str] = set()

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in cls.hidden:
            return None
        return super().find_spec(fullname, path, target)


def main(folder: Path) -> None:
    from service import patching

    patching.patch()
    production = installed()
    packages = {
        module: {canonicalize_name(name) for name in names}
        for module, names in packages_distributions().items()
    }
    hidden = {module: min(names) for module, names in packages.items() if not names & production}
    Production.hidden = hidden.keys() - {path.stem for path in ROOT.iterdir()}
    sys.meta_path[sys.meta_path.index(PathFinder)] = Production
    try:
        modules, lost_threads, megabytes = _start(folder)
    except Exception as error:
        for module in _missing(error):
            if module in Production.hidden:
                sys.exit(
                    f"serving needs {hidden[module]}, which is not in requirements.txt: "
                    f"add it there, then run `make lock`"
                )
        waits = isinstance(error.__cause__, LoopExit)
        reason = TOO_EARLY if waits else " ".join(str(error).split())
        sys.exit(f"served, this model would fail: {reason}")
    from service.artifact import RUNTIME_PACKAGES, runtime_versions

    used = {name for module in modules for name in packages.get(module, set()) & production}
    runtime = runtime_versions(sorted(used.union(RUNTIME_PACKAGES)))
    print(json.dumps(asdict(Served(runtime, lost_threads, megabytes))))


def _start(folder: Path) -> tuple[set[str], int, int]:
    """Start the service; return the packages, as imported, that its model was unpickled with.

    And how many threads of the model a fork would lose, and how many megabytes it takes.
    """
    from joblib import numpy_pickle

    from service.app import create_app
    from service.settings import Settings
    from service.source import files, imports

    found = set()

    class Unpickler(numpy_pickle.NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            found.add(module.partition(".")[0])
            return super().find_class(module, name)

    numpy_pickle.NumpyUnpickler = Unpickler
    threads, megabytes = lost_by_fork(), own_megabytes()
    import model

    app = create_app(Settings(artifact_dir=folder), model.predict)
    lost = lost_by_fork() - threads  # before the first prediction, as in a service
    refuse_pools()
    app.extensions["engine"].start()
    # The pickle does not tell what a class of model.py makes of it, a session of a runtime, say.
    beside = {module[0] for file in files() for module in imports(ROOT, file)}
    return found | (beside & sys.modules.keys()), len(lost), own_megabytes() - megabytes


def _missing(error: BaseException | None) -> Iterator[str]:
    """Yield the packages that an error, or one that led to it, says cannot be imported."""
    while error:
        if isinstance(error, ImportError):
            # pandas says it in words alone.
            yield from (
                [error.name.partition(".")[0]] if error.name else re.findall(r"\w+", str(error))
            )
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    code = 0
    try:
        main(Path(sys.argv[1]))
    except SystemExit as refused:
        print(refused)
        code = REFUSED
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an ordinary end would wait for the threads of the model
