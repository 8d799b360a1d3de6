"""docs/reference.md says what the code says."""

from __future__ import annotations

from tests.conftest import Api
from tools.reference import PAGE, written


def test_the_tables_are_those_of_the_code(api: Api) -> None:
    page, openapi = PAGE.read_text(), api.get("/openapi.json").json
    assert page == written(page, openapi), "write the tables anew: make docs"
