"""From a model back to the data and the code that made it, and to who let it in."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline import live, records
from pipeline.checkpoint import where
from pipeline.code import DATA_CODE, owners_code, packages
from pipeline.context import Context
from pipeline.progress import in_words
from pipeline.records import Run, StepDone
from pipeline.step import Step
from pipeline.store import Store
from service.artifact import Manifest
from training.owner import Options


def of_run(
    context: Context, manifest: Manifest, steps: Sequence[Step], status: str, reason: str
) -> Run:
    """Return the record of a run that came to an end; `manifest` is that of its model."""
    made = [(step, step.output().made()) for step in steps]
    options = context.options
    parameters = split_by(options) | {
        "SEED": options.seed,
        "GATES": manifest.gates,
        "MARGIN": options.margin,
        "POSITIVE": options.positive,
    }
    return Run(
        run=context.run,
        status=status,
        reason=reason,
        started=datetime.fromtimestamp(context.started, UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - context.started, 2),
        where=where(),
        version=manifest.version,
        live=context.live.version if context.live else "",
        commit=manifest.source.git_sha,
        dirty=manifest.source.dirty,
        code=manifest.source.sha256,
        data_code=owners_code(DATA_CODE),
        data=manifest.data.sha256,
        rows=manifest.data.rows,
        origin=manifest.data.origin,
        parameters={name: str(value) for name, value in parameters.items()},
        packages=packages(),
        image=os.environ.get("IMAGE", ""),
        steps=[StepDone(s.name, s.key, round(m.seconds, 2), m.where, m.run) for s, m in made],
        metrics=manifest.metrics,
    )


def split_by(options: Options) -> dict[str, str]:
    """Return what decides, besides a row's own values, whether it is kept aside."""
    found = {"TEST_SHARE": options.test_share, "GROUP": options.group, "TIME": options.time}
    return {name: str(value) for name, value in found.items()}


def facts(run: Run) -> dict[str, str]:
    """Return in words where a run's model comes from."""
    changes = ", with changes that are not committed" if run.dirty else ""
    found = {
        "run": f"{run.run}, {run.started}, on {run.where}",
        "data": f"{run.origin}; {run.rows:,} rows, data/{run.data[:12]}…",
        "code": (f"commit {run.commit[:8]}{changes}; " if run.commit else "") + run.code[:12],
        "image": run.image,
        "parameters": ", ".join(
            f"{name}={value}" for name, value in run.parameters.items() if value != "None"
        ),
        "took": in_words(run.seconds),
    }
    return {name: text for name, text in found.items() if text}


def _details(run: Run) -> dict[str, str]:
    return {
        "verdict": f"{run.status}: {run.reason}",
        "compared with": run.live or "nothing",
        "steps": ", ".join(
            f"{step.name} {step.key[:16]}" + (f" (of {step.run})" if step.run != run.run else "")
            for step in run.steps
        ),
        "packages": ", ".join(f"{name} {version}" for name, version in run.packages.items()),
    }


def of_version(store: Store, version: str) -> dict[str, str] | None:
    """Return the lineage of a model in words, and where it was let in; None if it is unknown."""
    model = records.model(store, version)
    run = records.maker(store, version, model.run if model else "")
    if not run:
        return None
    let_in = [
        f"{each.env} no. {each.number}, {each.at}, by {each.by}"
        for env in live.ENVIRONMENTS
        for each in records.deployments(store, env)
        if each.version == version
    ]
    return facts(run) | {"let in": "; ".join(let_in) or "nowhere yet"} | _details(run)
