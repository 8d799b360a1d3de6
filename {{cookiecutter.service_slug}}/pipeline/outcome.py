"""What a run leaves: its records and pages in the store, and copies of them in report/."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs
from rich.markup import escape

from pipeline import exits, lineage, models, records
from pipeline.build import build
from pipeline.checkpoint import now
from pipeline.context import Context
from pipeline.progress import console, warn
from pipeline.step import Step
from pipeline.steps.compare import Compare, Decision
from pipeline.steps.data import table
from pipeline.steps.evaluate import Evaluate
from pipeline.steps.fit import Fit
from pipeline.steps.package import Package, training
from pipeline.steps.validate import Validate
from pipeline.store import Corrupt, Store
from service.source import ROOT
from training import report
from training.errors import TrainingError
from training.evaluate import Evaluation
from training.package import draft

COPIES = Path(os.environ.get("REPORT_DIR") or ROOT / "report")
VERDICT = "verdict.json"
PAGES = ("report.html", "summary.md")
FILES = (*PAGES, "metrics.json", VERDICT)
EXITS = {
    "good": exits.GOOD,
    "undecided": exits.GOOD,
    "refused": exits.REFUSED,
    "nothing new": exits.NOTHING_NEW,
}


@dataclass(frozen=True)
class Outcome:
    run: records.Run
    exit: int


def again(store: Store, run: records.Run) -> Outcome:
    """Return what an ended run came to, with its pages in report/ again."""
    _copy(_pages(store, run))
    return Outcome(run, EXITS[run.status])


def _pages(store: Store, run: records.Run) -> dict[str, bytes]:
    """Return those pages of a run that are as they were written, by name."""
    found = {}
    for name, sha256 in run.files.items():
        try:
            found[name] = bytes(store.get_hashed(f"runs/{run.run}/{name}", sha256))
        except Corrupt as error:
            warn(f"{error}; left out of report/")
    return found


def ended(status: str, reason: str, exit_code: int) -> None:
    """Say in report/verdict.json how a run ended that came to no verdict; no page is left there."""
    _copy({VERDICT: _json(records.Verdict(status, reason, exit_code))})


def show(context: Context, data: str, decision: Decision) -> None:
    """Print the metrics, what there is to know of them, and which gates hold."""
    evaluation = build(Evaluate(data=data)).evaluation
    for name, value in evaluation.metrics.items():
        console.print(f"    {name:18} {value:.4g}")
    for note in evaluation.notes:
        warn(note)
    for finding in decision.findings:
        warn(f"{finding.column}: {finding.line}")
    missed = {line.partition(" (reached")[0] for line in decision.failed}
    for gate in context.options.gates:
        mark = "[red]✗[/]" if gate.text in missed else "[green]✓[/]"
        console.print(f"  {mark} gate       {escape(gate.text)}")


def failed(context: Context, error: TrainingError) -> None:
    """Note in the store that the run came to no model, nor to a report."""
    found = records.Failed(str(error), now())
    context.store.put_record(f"runs/{context.run}/failed.json", found)


def nothing_new(context: Context, data: str) -> Outcome:
    """Write the records of a run that has the data and the code of the live model."""
    live = context.live
    assert live and live.made_by and live.manifest
    reason = f"data and code are those of {live.name}"
    run = lineage.of_run(context, live.manifest, [Validate(data=data)], "nothing new", reason)
    pages = _pages(context.store, live.made_by)
    return _written(context, run, {name: pages[name] for name in PAGES if name in pages})


def write(
    context: Context, data: str, decision: Decision, packaged: records.Model | None
) -> Outcome:
    """Write the records of a run that came to a verdict; `packaged` is None if it was refused."""
    package = Package(data=data)
    needed: list[Step] = [table(package), Fit(data=data), Evaluate(data=data)]
    steps = [*needed, Validate(data=data), Compare(data=data), *([package] if packaged else [])]
    done = training(package, *[build(step) for step in steps][: len(needed)])
    manifest = models.manifest(context.store, packaged) if packaged else draft(done)
    verdict = decision.verdict
    run = lineage.of_run(context, manifest, steps, verdict.status, verdict.reason)
    shown = report.Report(
        run=context.run,
        manifest=manifest,
        evaluation=done.evaluation,
        verdict=verdict,
        live=_with_frame(decision.live, done.evaluation),
        compared=decision.compared,
        findings=decision.findings,
        facts=lineage.facts(run),
    )
    files = {
        "report.html": report.page(shown).encode(),
        "summary.md": report.summary(shown).encode(),
    }
    return _written(context, run, files)


def _written(context: Context, run: records.Run, files: dict[str, bytes]) -> Outcome:
    verdict = records.Verdict(run.status, run.reason, EXITS[run.status], run.version)
    files |= {"metrics.json": _json(run.metrics), VERDICT: _json(verdict)}
    hashes = {}
    for name, content in files.items():
        path = f"runs/{run.run}/{name}"
        if not context.store.put(path, content):
            # Of a start that was killed before run.json; what is written stays.
            content = bytes(context.store.get(path) or b"")
        hashes[name] = hashlib.sha256(content).hexdigest()
    run = structs.replace(run, files=hashes)
    if not context.store.put_record(f"runs/{run.run}/run.json", run):
        # Another start of the same run was quicker.
        run = records.run(context.store, run.run) or run
    if context.options.smoke:
        return Outcome(run, EXITS[run.status])
    return again(context.store, run)


def _with_frame(live: report.Live | None, evaluation: Evaluation) -> report.Live | None:
    if live is None or live.evaluation is None:
        return live
    return replace(live, evaluation=replace(live.evaluation, frame=evaluation.frame))


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _copy(files: dict[str, bytes]) -> None:
    """Put the files where a CI system finds them, in place of those of the run before."""
    with suppress(OSError):  # of a job, whose file system is read-only
        COPIES.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (COPIES / name).unlink(missing_ok=True)
        for name, content in files.items():
            (COPIES / name).write_bytes(content)
