"""Has Luigi do a step, and all that it needs and that is not there yet."""

from __future__ import annotations

import logging
from typing import Any

import luigi

from pipeline import progress
from pipeline.step import Spoilt, Step
from pipeline.store import StoreError

# What luigi.cfg leaves: a traceback for each failure.
for name in ("luigi", "luigi-interface", "luigi.scheduler"):
    logging.getLogger(name).disabled = True

# A store that damages so many objects is none to go on with.
MOST_SPOILT = 10


def build(step: Step) -> Any:
    """Return the step's value; raises what a step raised, and StoreError for a hopeless store."""
    for _ in range(MOST_SPOILT):
        _show_found(step, step.context.shown)
        step.context.failure = None
        luigi.build([step], local_scheduler=True)
        failure = step.context.failure
        try:
            if failure:
                raise failure
            return step.value()
        except Spoilt:
            continue
    raise StoreError(f"the store: {MOST_SPOILT} objects were damaged one after the other")


def _failed(task: luigi.Task, failure: BaseException) -> None:
    Step.context.failure = failure


luigi.Task.event_handler(luigi.Event.FAILURE)(_failed)


def _show_found(step: Step, shown: set[str]) -> None:
    """Show which of the steps up to this one were done before, each once in a run."""
    for needed in step.requires():
        _show_found(needed, shown)
    if step.name in shown or step.key in step.context.memory:
        return
    shown.add(step.name)
    if made := step.made():
        progress.found(step.name, made)
