"""The snapshot of the data, and what `prepare` of model.py makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipeline.checkpoint import Checkpoint
from pipeline.progress import Say
from pipeline.step import Step
from service.artifact import Input
from training.data import Data, checked, digest
from training.errors import TrainingError, owners
from training.gates import NO_TRUTH
from training.inputs import describe, served
from training.owner import Options
from training.sample import sample


@dataclass(frozen=True)
class Table:
    """The data as serving would see them, and what each column of the frame is."""

    data: Data
    inputs: list[Input]


def load(user: Any, options: Options) -> tuple[Any, str]:
    """Return the data step's value, and its hash."""
    with owners("load_data"):
        returned = user.load_data()
    if hasattr(user, "prepare"):
        if not isinstance(returned, pd.DataFrame):
            got = type(returned).__name__
            raise TrainingError(f"load_data: with a prepare it returns one DataFrame; got {got}")
        return returned, digest(returned)
    table = _table(returned, options)
    return table, table.data.digest()


def _table(returned: Any, options: Options) -> Table:
    data = checked(returned, options)
    if options.gates and data.truth is None and options.judge is None:
        raise TrainingError(f"GATES: load_data gives no truth to judge by; {NO_TRUTH}")
    if options.smoke:
        data = sample(data)
    inputs = describe(data.frame)
    return Table(replace(data, frame=served(inputs, data.frame)), inputs)


def rows(value: Any) -> str:
    """Return how much data there is, in words."""
    if isinstance(value, Table):
        return f"{len(value.data.frame)} rows, {len(value.inputs)} inputs"
    return f"{len(value)} rows, {value.shape[1]} columns"


class Load(Step):
    """The snapshot that the run works on; only a damaged one is made here, from the same data."""

    name = "data"

    @property
    def key(self) -> str:
        return self.data

    def output(self) -> Checkpoint:
        return Checkpoint(self.context.store, f"data/{self.data}")

    def make(self, say: Say, *inputs: Any) -> Any:
        value, found = load(self.context.user, self.context.options)
        if found != self.data:
            raise TrainingError(
                "load_data: this run's data are damaged in the store, and other data are there "
                "now: start a new run"
            )
        say("loaded again")
        return value


class Prepare(Step):
    """What `prepare` of model.py makes of the snapshot, if there is one."""

    name = "prepare"
    calls = ("prepare",)

    def requires(self) -> list[Step]:
        return [Load(data=self.data)]

    def parameters(self) -> Any:
        return [self.context.options.group, self.context.options.time]

    def make(self, say: Say, *inputs: Any) -> Table:
        (raw,) = inputs
        with owners("prepare"):
            returned = self.context.user.prepare(raw)
        # One copy of the data is enough.
        self.context.memory.pop(self.data, None)
        table = _table(returned, self.context.options)
        say(rows(table))
        return table


def table(step: Step) -> Step:
    """Return the step whose value is the Table."""
    prepares = hasattr(step.context.user, "prepare")
    return Prepare(data=step.data) if prepares else Load(data=step.data)
