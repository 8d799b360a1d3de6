"""Whether the data are still those that the live model knows."""

from __future__ import annotations

from typing import Any

from pipeline.progress import Say
from pipeline.step import Step
from pipeline.steps.data import Table, table
from training.validation import Finding, validate


class Validate(Step):
    """What in the data is other than in those of the live model."""

    name = "validate"

    def requires(self) -> list[Step]:
        return [table(self)]

    def parameters(self) -> Any:
        live = self.context.live
        return live and (live.version, live.manifest is not None)

    def make(self, say: Say, *inputs: Table) -> list[Finding]:
        (now,) = inputs
        live = self.context.live
        if not live or not live.manifest:
            say("no live model to compare with")
            return []
        found = validate(live.manifest, now.inputs, now.data.frame)
        say(f"{len(found)} columns differ from live's" if found else "as live's")
        return found
