from __future__ import annotations

from flask.testing import FlaskClient

from tools.reference import PAGE, written


def test_the_tables_are_those_of_the_code(client: FlaskClient) -> None:
    openapi = client.get("/openapi.json").json
    assert openapi is not None
    page = PAGE.read_text()
    assert page == written(page, openapi), "write the tables anew: make docs"
