"""`python -m pipeline COMMAND`: what the Makefile calls.

    train      exit 0 good or undecided, 1 refused, 2 used wrongly, 3 nothing new, 75 try again
               (store or network)
    smoke      the same on a few rows, into nothing
    show       the runs of the store; lineage: of VERSION
    promote    let the model of RUN, or the newest, into ENV
    record     note what is released to ENV, for `make release`, `deploy` and `rollback`

STORE, RUN and the rest are environment variables: in a command line, a shell would evaluate them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from rich.markup import escape

from pipeline import datasets, exits
from pipeline.outcome import COPIES, ended
from pipeline.progress import console
from pipeline.promote import PromoteError, promote, record
from pipeline.show import show, show_lineage
from pipeline.smoke import smoke
from pipeline.store import Corrupt, Store, StoreError, StoreMisused
from pipeline.train import Refused, train
from service.settings import Settings
from training.errors import TrainingError, owners
from training.owner import read

AS_IT_WAS = "The artifact is as it was."
READERS = ("show", "lineage", "promote", "record")


def main(command: str = "train") -> int:
    """Return the exit code, having said in report/verdict.json how a training ended."""
    try:
        return _run(command)
    except TrainingError as error:
        console.print(f"[bold red]not trained:[/] {escape(str(error))}", soft_wrap=True)
        console.print(error.trace, end="", markup=False, soft_wrap=True)
        console.print(AS_IT_WAS)
        status = "refused" if isinstance(error, Refused) else "failed"
        return _ended(command, status, str(error), exits.REFUSED)
    except (StoreMisused, Corrupt, PromoteError) as error:
        status, said, code = "used wrongly", str(error), exits.MISUSED
    except StoreError as error:
        status, said, code = "try again", f"{error}; try again", exits.LATER
    except OSError as error:  # no room, no right
        status, said, code = "used wrongly", f"{type(error).__name__}: {error}", exits.MISUSED
    except KeyboardInterrupt:
        status, said, code = "stopped", "stopped; started again, it goes on here", exits.STOPPED
    console.print(f"[bold red]not done:[/] {escape(said)}", soft_wrap=True)
    return _ended(command, status, said, code)


def _ended(command: str, status: str, said: str, code: int) -> int:
    if command == "train":
        ended(status, said, code)
    return code


def _run(command: str) -> int:
    if command == "smoke":
        return smoke(_model())
    values = {name: os.environ.get(name, "") for name in ("ENV", "RUN", "TAG", "VERSION")}
    store = datasets.opened(to_read=command in READERS)
    if command == "train":
        return _train(store)
    if command == "show":
        show(store)
    elif command == "lineage":
        return exits.GOOD if show_lineage(store, values["VERSION"]) else exits.MISUSED
    elif command == "promote":
        promote(store, values["ENV"], values["RUN"], values["TAG"])
    elif command == "record":
        record(store, values["ENV"])
    else:
        raise StoreMisused(f"no command {command!r}: {', '.join(('train', 'smoke', *READERS))}")
    return exits.GOOD


def _model() -> Any:
    with owners("model.py"):
        return import_module("model")


def _train(store: Store) -> int:
    user = _model()
    done = train(store, user, read(user), Settings.from_env().artifact_dir)
    run = done.run
    refused = run.status == "refused"
    console.print(
        f"[bold {'red' if refused else ''}]{run.status}:[/] {escape(run.reason)}", soft_wrap=True
    )
    if refused:
        console.print(AS_IT_WAS)
    if (COPIES / "report.html").exists():
        console.print("    report     report/report.html  (open it in a browser)")
    return done.exit


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
