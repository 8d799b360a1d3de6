"""One run: from the data to a packaged model or a refusal."""

from __future__ import annotations

import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline import live as lives
from pipeline import models, naming, outcome, records
from pipeline.build import build
from pipeline.checkpoint import now
from pipeline.code import DATA_CODE, code, owners_code
from pipeline.context import Context
from pipeline.outcome import Outcome
from pipeline.progress import console, stage, warn
from pipeline.step import Step
from pipeline.steps.compare import Compare, Decision
from pipeline.steps.data import Load, Prepare, load, rows
from pipeline.steps.evaluate import Evaluate
from pipeline.steps.fit import Fit
from pipeline.steps.package import Package
from pipeline.steps.validate import Validate
from pipeline.store import Corrupt, Store
from service.source import ROOT
from training.errors import TrainingError, owners
from training.owner import Options
from training.package import FINGERPRINT, MODULES, install
from training.requirements import not_fixed
from training.validation import Finding


def train(store: Store, user: Any, options: Options, folder: Path) -> Outcome:
    """Train model.py, which is the module `user`, and make its artifact the one in `folder`.

    Raises TrainingError if a step fails, StoreError and StoreMisused; the artifact in `folder` is
    then as it was, as it is when the candidate is refused.
    """
    for line in not_fixed():
        warn(line)
    files = {name: (ROOT / name).read_bytes() for name in MODULES}
    kinds: list[type[Step]] = [Prepare, Fit, Evaluate, Compare, Package, *_owners_steps()]
    for kind in kinds:
        code(kind.calls)  # as it is now: it may be edited while the data are loaded
    run = naming.run_name(store, FINGERPRINT)
    if ended := records.run(store, run):
        if ended.version and (record := records.model(store, ended.version)):
            _install(record, store, folder)
        console.print(f"run {run} has ended already; another RUN trains anew", markup=False)
        return outcome.again(store, ended)
    context = Context(store, run, user, options, files, lives.find(store))
    Step.context = context
    console.print(f"run {run}, in {store.url}", markup=False)
    try:
        data = snapshot(context)
        _refuse_broken(build(Validate(data=data)), context)
        live = context.live
        if live and live.record and live.is_made_of(FINGERPRINT, Evaluate(data=data).key):
            _build_owners_steps(data)
            _install(live.record, store, folder)
            return outcome.nothing_new(context, data)
        decision: Decision = build(Compare(data=data))
        outcome.show(context, data, decision)
        packaged = None
        if decision.verdict.status != "refused":
            _build_owners_steps(data)
            packaged = _package(context, data, folder)
    except TrainingError as error:
        outcome.failed(context, error)
        raise
    return outcome.write(context, data, decision, packaged)


class Refused(TrainingError):
    """The data are refused, as a candidate may be."""


def _refuse_broken(findings: list[Finding], context: Context) -> None:
    """Raise Refused if callers of the live model could not call this one.

    Unless it is meant: then the code that makes the data was edited since.
    """
    broken = next((finding for finding in findings if finding.breaking), None)
    live = context.live
    if not broken or not live or not live.deployed or not live.made_by:
        return
    if live.made_by.data_code == owners_code(DATA_CODE):
        raise Refused(
            f"column {broken.column!r} {broken.line}: callers of live ({live.version}) could not "
            "call this model; mend the data, or edit load_data if it is meant, and start a new run"
        )


def _package(context: Context, data: str, folder: Path) -> records.Model:
    """Have the model packaged, and installed in `folder`; return its record."""
    step = Package(data=data)
    version, note = build(step)
    record = records.model(context.store, version)
    if record is None:  # somebody took it away since
        step.forget(Corrupt(f"models/{version}", "is not there"))
        version, note = build(step)
        record = records.model(context.store, version)
        assert record
    _install(record, context.store, folder)
    if note:
        warn(note)
    return record


def _install(record: records.Model, store: Store, folder: Path) -> None:
    install(folder, models.contents(store, record, models.ARTIFACT))


def _owners_steps() -> list[type[Step]]:
    """Return STEPS of steps.py, which an owner may put beside model.py."""
    if find_spec("steps") is None:
        return []
    with owners("steps.py"):
        return list(import_module("steps").STEPS)


def _build_owners_steps(data: str) -> None:
    for step in _owners_steps():
        build(step(data=data))


def snapshot(context: Context) -> str:
    """Return the hash of the data that the run works on: those of its first start by this code."""
    store, user = context.store, context.user
    path = f"runs/{context.run}/snapshot-{owners_code(DATA_CODE)[:12]}.json"
    if known := store.get_record(path, records.Snapshot):
        return known.data
    clock = time.monotonic()
    with stage("data") as say:
        value, data = load(user, context.options)
        step = Load(data=data)
        seen = step.made()
        if not seen:
            step.write(value, time.monotonic() - clock)
        say(rows(value) + (", as before" if seen else ""))
    context.memory[data] = value
    if not store.put_record(path, records.Snapshot(data, now())):
        known = store.get_record(path, records.Snapshot)  # of another start, at the same time
        return known.data if known else data
    return data
