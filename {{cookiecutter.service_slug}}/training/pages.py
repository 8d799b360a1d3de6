"""Pages that stand alone: templates that extend page.html, which holds the stylesheet inline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

TEMPLATES = Path(__file__).parent / "templates"


def load(path: Path, **filters: Callable[..., str]) -> Template:
    """Return the template at `path`, which may also extend and include those in TEMPLATES."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(filters, thousands=lambda count: f"{count:,}")
    return environment.get_template(path.name)
