"""What serving lacks, training notices: before an artifact becomes current, it is served once.

In a process of its own, which starts as a service does and in which only the packages of
requirements.txt can be imported: not those that training or development bring besides.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.utils import canonicalize_name

from training.errors import TrainingError
from training.requirements import ROOT, installed


def served(folder: Path) -> dict[str, str]:
    """Start the service on the artifact in `folder`; return the versions that its model needs.

    Those are the versions of Python and of all packages that the model's classes come from, or that
    the code beside it uses. Raises TrainingError if a service would not start.
    """
    command = [sys.executable, "-m", "training.serving", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise TrainingError(said[-1])
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


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
    production = installed()
    packages = {
        module: {canonicalize_name(name) for name in names}
        for module, names in packages_distributions().items()
    }
    hidden = {module: min(names) for module, names in packages.items() if not names & production}
    Production.hidden = hidden.keys() - {path.stem for path in ROOT.iterdir()}
    sys.meta_path[sys.meta_path.index(PathFinder)] = Production
    try:
        modules = _start(folder)
    except Exception as error:
        for module in _missing(error):
            if module in Production.hidden:
                sys.exit(
                    f"serving needs {hidden[module]}, which is not in requirements.txt: "
                    f"add it there, then run `make lock`"
                )
        sys.exit(f"served, this model would fail: {' '.join(str(error).split())}")
    from service.artifact import RUNTIME_PACKAGES, runtime_versions

    used = {name for module in modules for name in packages.get(module, set()) & production}
    print(json.dumps(runtime_versions(sorted(used.union(RUNTIME_PACKAGES)))))


def _start(folder: Path) -> set[str]:
    """Start the service; return the packages, as imported, that its model was unpickled with."""
    from joblib import numpy_pickle

    import model
    from service.app import create_app
    from service.settings import Settings
    from service.source import files, imports

    found = set()

    class Unpickler(numpy_pickle.NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            found.add(module.partition(".")[0])
            return super().find_class(module, name)

    numpy_pickle.NumpyUnpickler = Unpickler
    app = create_app(Settings(artifact_dir=folder), model.predict)
    app.extensions["engine"].start()
    # The pickle does not tell what a class of model.py makes of it, a session of a runtime, say.
    beside = {module[0] for file in files() for module in imports(ROOT, file)}
    return found | (beside & sys.modules.keys())


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
    main(Path(sys.argv[1]))
