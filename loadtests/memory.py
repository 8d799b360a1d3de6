"""What a further worker costs in memory: one model for all of them.

    python -m loadtests.memory              about 2 minutes; writes results/memory.{md,json,png}

A forest of at least 200 MB is served by 1, 2 and 4 workers, loaded before the fork (as the service
does) and by each worker on its own. Every worker predicts before it is measured: what a prediction
writes to, its worker no longer shares. The interpreter's own part of a worker is what one costs the
same service with its small default model.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure

from loadtests import measure, outcome
from loadtests.agent import Failure
from loadtests.environments import ROWS, Installed, install
from loadtests.openloop import Client, post
from loadtests.running import Running, running
from loadtests.servers import OURS, Rows

WORKERS = (1, 2, 4)
LEAST_MODEL_MB = 200
MODEL_SHARE = 0.1
# Each worker computes at least this long before it is measured.
BUSY_SECONDS = 0.5
PATIENCE_SECONDS = 60
TITLE = "Memory (PSS) of all processes, against workers"


@dataclass(frozen=True)
class Served:
    """One number of workers, in MB: `total` is the PSS of the arbiter and all workers."""

    model: str
    preload: bool
    workers: int
    total: float
    arbiter: measure.Memory
    each: list[measure.Memory]


@dataclass(frozen=True)
class Step:
    """What each worker costs that comes on top of `after` of them, in MB."""

    after: int
    workers: int
    cost: float
    interpreter: float
    bound: float


def serve(installed: Installed, model: str, preload: bool, workers: int, rows: Rows) -> Served:
    """Start the service, let every worker predict, and measure."""
    server = replace(OURS, environ={**OURS.environ, "WEB_CONCURRENCY": str(workers)})
    if not preload:
        # gunicorn's command line can turn this on only.
        settings = (installed.folder / "gunicorn.conf.py").read_text() + "\npreload_app = False\n"
        (installed.state / "no_preload.py").write_text(settings)
        server = replace(server, command=(*server.command, "--config={state}/no_preload.py"))
    print(f"{model}, {workers} workers, preload {preload}", flush=True)
    with running(replace(installed, server=server), rows) as started:
        started.check(rows, installed.scores)
        pids = measure.process_tree(started.pid)[1:]
        if len(pids) != workers:
            raise Failure(f"{len(pids)} workers instead of {workers}")
        exercise(started, pids, rows)
        return Served(
            model=model,
            preload=preload,
            workers=workers,
            total=measure.tree_pss_mb(started.pid),
            arbiter=measure.memory(started.pid),
            each=[measure.memory(pid) for pid in pids],
        )


def exercise(started: Running, pids: Sequence[int], rows: Rows) -> None:
    """Ask until each worker has had its part, on new connections every time."""
    request = post("/predict", json.dumps({"instances": rows}).encode())
    before = {pid: measure.cpu_seconds(pid) for pid in pids}
    end = time.monotonic() + PATIENCE_SECONDS

    async def ask() -> None:
        client = Client(started.port)
        await client.saturate(request, clients=8 * len(pids), seconds=1)
        client.close()

    while min(measure.cpu_seconds(pid) - before[pid] for pid in pids) < BUSY_SECONDS:
        if time.monotonic() > end:
            raise Failure(f"a worker got no requests in {PATIENCE_SECONDS} s")
        asyncio.run(ask())


def compare(large: Sequence[Served], small: Sequence[Served], model_mb: float) -> list[Step]:
    """Return what further workers cost and may cost; both series have the same workers."""
    steps = []
    for (one, other), (small_one, small_other) in zip(
        pairwise(large), pairwise(small), strict=True
    ):
        more = other.workers - one.workers
        interpreter = (small_other.total - small_one.total) / more
        steps.append(
            Step(
                after=one.workers,
                workers=other.workers,
                cost=(other.total - one.total) / more,
                interpreter=interpreter,
                bound=MODEL_SHARE * model_mb + interpreter,
            )
        )
    return steps


def main() -> int:
    parser = outcome.parser(__doc__)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {measure.LOAD_CORE})
    print("training both models ...", flush=True)
    models = {model: install(OURS, model) for model in ("lr", "large")}
    rows = json.loads(ROWS.read_text())
    model_mb = models["large"].model.stat().st_size / 2**20
    if model_mb < LEAST_MODEL_MB:
        raise Failure(f"the forest has {model_mb:.0f} MB only")
    found = {
        (model, preload): [serve(models[model], model, preload, n, rows) for n in WORKERS]
        for model, preload in (("lr", True), ("lr", False), ("large", True), ("large", False))
    }
    steps = {
        preload: compare(found["large", preload], found["lr", preload], model_mb)
        for preload in (True, False)
    }
    failures = [
        f"after {step.after}, a worker costs {step.cost:.0f} MB, over {step.bound:.0f} MB"
        for step in steps[True]
        if step.cost > step.bound
    ]
    return write(arguments.out, list(found.values()), steps, model_mb, failures)


def write(
    folder: Path,
    found: list[list[Served]],
    steps: dict[bool, list[Step]],
    model_mb: float,
    failures: list[str],
) -> int:
    lines = [
        f"The forest's file has {model_mb:.0f} MB; all figures are MB.",
        "",
        "| model | preload | workers | total PSS | PSS of arbiter | PSS per worker "
        "| private per worker |",
        "|---|---|---|---|---|---|---|",
    ]
    for served in (served for series in found for served in series):
        pss = sorted(memory.pss_mb for memory in served.each)
        private = sorted(memory.private_mb for memory in served.each)
        lines.append(
            f"| {'forest' if served.model == 'large' else 'default'} "
            f"| {'on' if served.preload else 'off'} | {served.workers} | {served.total:.0f} "
            f"| {served.arbiter.pss_mb:.0f} | {_span(pss)} | {_span(private)} |"
        )
    lines += [
        "",
        "| preload | a further worker after | costs | of it the interpreter's own | of the model "
        "| may cost |",
        "|---|---|---|---|---|---|",
    ]
    for preload in (True, False):
        for step in steps[preload]:
            lines.append(
                f"| {'on' if preload else 'off'} | {step.after} | {step.cost:.1f} "
                f"| {step.interpreter:.1f} | {(step.cost - step.interpreter) / model_mb:.1%} "
                f"| {f'{step.bound:.1f}' if preload else '-'} |"
            )
    document = {
        "model_mb": model_mb,
        "served": [asdict(served) for series in found for served in series],
        "steps": {f"preload={key}": [asdict(step) for step in steps[key]] for key in steps},
    }
    kept = "with preload, a further worker costs what it may."
    status = outcome.leave(folder, "memory", lines, document, failures=failures, kept=kept)
    draw(folder / "memory.png", found, model_mb)
    return status


def _span(ordered: Sequence[float]) -> str:
    low, high = f"{ordered[0]:.0f}", f"{ordered[-1]:.0f}"
    return low if low == high else f"{low}-{high}"


def draw(file: Path, found: list[list[Served]], model_mb: float) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    figure.suptitle(TITLE, fontsize=12)
    axes = figure.subplots()
    for series in found:
        large, preload = series[0].model == "large", series[0].preload
        axes.plot(
            [served.workers for served in series],
            [served.total for served in series],
            "o-" if large else "o--",
            color="#6d3fc0" if preload else "#c9c9c9",
            label=f"{f'forest of {model_mb:.0f} MB' if large else 'default model'}, "
            f"preload {'on' if preload else 'off'}",
        )
    axes.set_xlabel("workers")
    axes.set_xticks(WORKERS)
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
