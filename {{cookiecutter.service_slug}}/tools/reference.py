"""Write the tables of docs/reference.md anew, from the code: `python -m tools.reference`.

A table stands between `<!-- its name -->` and `<!-- /its name -->`; the rest is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from service import app
from service.ab.settings import AbSettings
from service.settings import FromEnvironment, Settings
from service.shadow.settings import ShadowSettings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"

Json = dict[str, Any]


def main() -> None:
    openapi: Any = app.main().test_client().get("/openapi.json").json
    PAGE.write_text(written(PAGE.read_text(), openapi))


def written(page: str, openapi: Json) -> str:
    """Return the page with the tables that the code gives now.

    `openapi`: the document of any model: what is taken from it is the same in all services.
    Raises ValueError unless the page has one place for each table.
    """
    tables = {
        "routes": table("route | answer | statuses", routes(openapi)),
        "statuses": table("status | when", statuses(openapi)),
        "settings": table("variable | default | meaning", settings(Settings)),
        "shadow settings": table("variable | default | meaning", settings(ShadowSettings)),
        "ab settings": table("variable | default | meaning", settings(AbSettings)),
        "metrics": table("metric | kind | unit | tags | meaning", metrics()),
    }
    for name, text in tables.items():
        before, *rest = re.split(
            rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", page, flags=re.S
        )
        if len(rest) != 1:
            raise ValueError(f"{PAGE.name}: expected one place for the table {name!r}")
        page = before + text + rest[0]
    return page


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown; `head`: the columns' names."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = " | ".join("---" for _ in head.split("|"))
    lines = [head, rule, *map(" | ".join, cells)]
    return "".join(f"| {line} |\n" for line in lines)


def routes(openapi: Json) -> Iterator[tuple[str, ...]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            answers = ", ".join(operation["responses"])
            yield f"`{method.upper()} {path}`", operation["summary"], answers


def statuses(openapi: Json) -> Iterator[tuple[str, ...]]:
    shared = openapi["components"]["responses"]
    for status, response in openapi["paths"]["/predict"]["post"]["responses"].items():
        yield status, (shared[status] if "$ref" in response else response)["description"]


def settings(kind: type[FromEnvironment]) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(kind):
        _, meta = get_args(field.type)
        default = str(field.default)
        yield f"`{field.name.upper()}`", default and f"`{default}`", meta.description


def metrics() -> Iterator[tuple[str, ...]]:
    catalogue = yaml.safe_load((ROOT / "datadog" / "metrics.yaml").read_text())
    for name, metric in catalogue.items():
        tags = ", ".join(metric["tags"])
        yield f"`{name}`", metric["kind"], metric["unit"], tags, metric["about"]


if __name__ == "__main__":
    main()
