"""The artifact, written to the store with the code that answers."""

from __future__ import annotations

from typing import Any

from pipeline import models
from pipeline.progress import Say
from pipeline.step import Step
from pipeline.steps.compare import Compare
from pipeline.steps.data import Table, table
from pipeline.steps.evaluate import Evaluate, Judged
from pipeline.steps.fit import Fit, Fitted
from service.engine import Predictor
from service.schema import Schema
from training.package import FINGERPRINT, ROOT, Training, package


def training(step: Step, now: Table, fitted: Fitted, judged: Judged) -> Training:
    """Return what the steps before packaging found."""
    user, options = step.context.user, step.context.options
    kept = now.data.take(fitted.held)
    schema = Schema(now.inputs, max_instances=len(kept.frame))
    return Training(
        origin=user.ORIGIN,
        data=step.data,
        seed=options.seed,
        gates=[gate.text for gate in options.gates],
        frame=now.data.frame,
        truth=now.data.truth,
        weights=now.data.weights,
        inputs=now.inputs,
        estimator=fitted.estimator,
        predictor=Predictor(user.predict, fitted.estimator, schema, judged.fields),
        answers=judged.answers,
        evaluation=judged.over(kept.frame),
    )


class Package(Step):
    """Its value is the version, and a line that the owner should know of, or ""."""

    name = "package"
    calls = ("predict",)

    def requires(self) -> list[Step]:
        data = self.data
        return [table(self), Fit(data=data), Evaluate(data=data), Compare(data=data)]

    def parameters(self) -> Any:
        # The manifest says what all of model.py was, and what the service is called.
        return [FINGERPRINT, self.context.user.ORIGIN, (ROOT / "service.toml").read_text()]

    def make(self, say: Say, *inputs: Any) -> tuple[str, str]:
        now, fitted, judged, _ = inputs
        done = package(training(self, now, fitted, judged))
        contents = {models.ARTIFACT + name: content for name, content in done.files.items()}
        contents |= {models.CODE + name: content for name, content in self.context.files.items()}
        version = done.manifest.version
        models.write(self.context.store, version, self.context.run, contents)
        say(f"version {version}")
        return version, done.note
