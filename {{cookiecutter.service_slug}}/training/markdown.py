"""Markdown as GitHub, GitLab and Azure all show it, of text that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Sequence


def plain(text: str) -> str:
    """Return `text` such that it is shown as it is, on one line."""
    return " ".join(re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", text).split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    first, rule, *others = (f"| {' | '.join(map(plain, cells))} |" for cells in lines)
    return "\n".join([first, rule, *others])
