"""How a benchmark ends: results for people and for programs, and whether it kept its promises."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def parser(about: str | None) -> ArgumentParser:
    """Return a command line with what all benchmarks have."""
    made = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return made


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]


def leave(
    folder: Path,
    name: str,
    lines: Sequence[str],
    document: Mapping[str, Any],
    *,
    failures: Sequence[str],
    kept: str,
    options: str = "",
) -> int:
    """Write NAME.md and NAME.json, print what they say, and return the exit status.

    `kept`: what is true if there are no `failures`. `options`: with which it can be run again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    verdict = [f"FAILED: {failure}" for failure in failures] or [f"Kept: {kept}"]
    made = f"Made by `{' '.join(['python -m', f'loadtests.{name}', *options.split()])}`."
    text = "\n".join([*lines, "", *verdict, "", made])
    (folder / f"{name}.md").write_text(text + "\n")
    content = json.dumps({**document, "failures": failures}, indent=1)
    (folder / f"{name}.json").write_text(content + "\n")
    print(text)
    return 1 if failures else 0
