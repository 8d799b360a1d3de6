"""A step: a Luigi task whose result is a checkpoint, named by all that the result depends on."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import luigi
import msgspec
import numpy as np

from pipeline import progress
from pipeline.checkpoint import Checkpoint, Made
from pipeline.code import code
from pipeline.context import Context
from pipeline.progress import Say
from pipeline.store import Corrupt
from service import source
from training.errors import owners


class Spoilt(Exception):
    """A step's checkpoint was damaged; it was marked, so that the step is done again."""


@cache
def _module(name: str) -> str:
    """Return a hash of the file that a step is in, and of those that it imports."""
    file = Path(str(sys.modules[name].__file__))
    files = [
        file,
        *(source.ROOT / name for name in source.modules(source.ROOT, [source.tree(file)])),
    ]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


class Step(luigi.Task):
    """A subclass says what it needs and how its value is made; see docs/training.md for one."""

    # The snapshot of the data that the run works on, by its hash.
    data = luigi.Parameter()

    name: ClassVar[str]
    # What of model.py it calls.
    calls: ClassVar[tuple[str, ...]] = ()

    context: ClassVar[Context]

    def __init__(self, *, data: str) -> None:
        super().__init__(data=data)  # type: ignore[no-untyped-call]

    def requires(self) -> list[Step]:
        return []

    def parameters(self) -> Any:
        """Return what else the result depends on: anything that can be written as JSON."""
        return None

    def make(self, say: Say, *inputs: Any) -> Any:
        """Return the step's value from those of the steps that it requires, in their order."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        content = (
            self.name,
            self.data,
            self.context.options.seed,
            self.parameters(),
            code(self.calls),
            _module(type(self).__module__),
            [step.key for step in self.requires()],
        )
        return hashlib.sha256(msgspec.json.encode(content, enc_hook=repr)).hexdigest()[:16]

    def output(self) -> Checkpoint:
        return Checkpoint(self.context.store, f"checkpoints/{self.name}-{self.key}")

    def run(self) -> None:
        inputs = [step.value() for step in self.requires()]
        context = self.context
        # For what was given no random_state; anew for each step, so that it does not matter which
        # steps before it were done here.
        random.seed(context.options.seed)
        np.random.seed(context.options.seed)
        started = time.monotonic()
        with progress.stage(self.name) as say:
            ours = type(self).__module__.startswith("pipeline.")
            with nullcontext() if ours else owners(self.name):
                value = self.make(say, *inputs)
            self.write(value, time.monotonic() - started)
        context.memory[self.key] = value

    def write(self, value: Any, seconds: float) -> None:
        self.output().write(value, self.context.run, seconds)

    def value(self) -> Any:
        """Return what the step made, here or before; raises Spoilt if that was damaged."""
        memory = self.context.memory
        if self.key not in memory:
            try:
                memory[self.key] = self.output().read()
            except Corrupt as error:
                self.forget(error)
                raise Spoilt(self.name) from None
        return memory[self.key]

    def made(self) -> Made | None:
        """Return how it was done before; None if it was not, or the record of that is damaged."""
        output = self.output()
        try:
            return output.made() if output.exists() else None
        except Corrupt as error:
            self.forget(error)
            return None

    def forget(self, why: Corrupt) -> None:
        """Have the step done again: what it made is damaged, or gone."""
        progress.warn(f"{why}: {self.name} is done again")
        self.context.memory.pop(self.key, None)
        self.output().spoil()
