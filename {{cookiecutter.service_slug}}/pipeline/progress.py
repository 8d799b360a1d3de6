"""What a run shows on the terminal: a line for each step, whether it is done now or was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.checkpoint import Made

console = Console(highlight=False)


class Say(Protocol):
    """Shows what came of a step, or with `done=False` how far it is."""

    def __call__(self, result: str, done: bool = True) -> None: ...


@contextmanager
def stage(name: str) -> Iterator[Say]:
    """Show a step with a running clock; the block is given a function that says what came of it."""
    columns = SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}")
    with Progress(TextColumn(" "), *columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(name, total=1)

        def say(result: str, done: bool = True) -> None:
            text = f"{name:10} {escape(result):44}"
            progress.update(task, completed=int(done), description=text)

        yield say


def found(name: str, made: Made) -> None:
    """Show a step that was done before."""
    age = (datetime.now(UTC) - datetime.fromisoformat(made.at)).total_seconds()
    saved = f" (saved {in_words(made.seconds)})" if made.seconds >= 1 else ""
    line = f"from a checkpoint of {in_words(age)} ago{saved}"
    console.print(f"  [cyan]=[/] {name:10} {line}", soft_wrap=True)


def warn(line: str) -> None:
    console.print(f"  [yellow]![/] {escape(line)}", soft_wrap=True)


def in_words(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
