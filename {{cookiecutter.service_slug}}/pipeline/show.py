"""`make show` and `make lineage`: what is in the store, for people."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import lineage, records
from pipeline.live import ENVIRONMENTS
from pipeline.naming import cleaned
from pipeline.progress import console, in_words
from pipeline.records import Deployment
from pipeline.store import Store

MOST = 30
DEPLOYMENTS = 5  # of an environment
WIDTH = 120
COLOURS = {"good": "green", "undecided": "yellow", "refused": "red", "nothing new": "bright_black"}


def show(store: Store) -> None:
    """Print the newest runs and deployments: of runs when, data, verdict, and where they serve."""
    made = {env: records.deployments(store, env) for env in ENVIRONMENTS}
    serving: dict[str, list[str]] = {}
    for env, found in made.items():
        if found:
            serving.setdefault(found[-1].version, []).append(env)
    names = ("run", "started", "data", "verdict", "main metric", "took", "version", "serves")
    table = Table(*names, box=None, header_style="bold", title_justify="left")
    runs = records.runs(store)
    for run in runs[:MOST]:
        metric = next(iter(run.metrics.items()), None)
        table.add_row(
            run.run,
            run.started[:16].replace("T", " "),
            f"{run.rows:,} rows {run.data[:8]}",
            f"[{COLOURS[run.status]}]{run.status}[/]",
            f"{metric[0]} {metric[1]:.4g}" if metric else "",
            in_words(run.seconds),
            run.version,
            " ".join(serving.get(run.version, [])),
        )
    _print(table)
    ended = {run.run for run in runs}
    for name in store.folders("runs"):
        if name not in ended:
            failed = records.failed(store, name)
            said = f"failed: {failed.reason}" if failed else "has not ended"
            console.print(f" {name}: {said}", markup=False, soft_wrap=True)
    if len(runs) > MOST:
        console.print(f" and {len(runs) - MOST} older ones")
    if any(made.values()):
        _print(_deployments(made))


def _deployments(made: dict[str, list[Deployment]]) -> Table:
    """Return the last ones, with the numbers that `make rollback` takes."""
    names = ("deployed to", "number", "at", "run", "tag", "by")
    table = Table(*names, box=None, header_style="bold")
    for env, found in made.items():
        for one in reversed(found[-DEPLOYMENTS:]):
            at, tag = one.at[:16].replace("T", " "), one.tag.partition("@")[0]
            table.add_row(env, str(one.number), at, one.run, tag, escape(one.by))
    return table


def _print(table: Table) -> None:
    # Wider than a narrow terminal, rather than broken within words.
    Console(width=max(console.width, WIDTH), highlight=False).print(table)


def show_lineage(store: Store, version: str) -> bool:
    """Print the way from a model back to data and code; return False if the store has none such.

    Raises StoreMisused for a version that no model has.
    """
    found = lineage.of_version(store, cleaned("VERSION", version))
    if found is None:
        console.print(f"VERSION={version}: {store.url} has no such model", soft_wrap=True)
        return False
    for name, text in found.items():
        console.print(f"[bold]{name:14}[/]{escape(text)}", soft_wrap=True)
    return True
