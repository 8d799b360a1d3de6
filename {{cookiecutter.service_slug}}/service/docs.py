"""The page on which one can try the routes: Swagger UI, its files from a package, not from a CDN.

All its links are relative, so that it works below any path that a proxy puts in front of it.
"""

from __future__ import annotations

import html
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, redirect, send_from_directory

_FILES = Path(flask_swagger_ui.__file__).parent / "dist"
_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>{name}</title>
    <link rel="icon" href="favicon-32x32.png">
    <link rel="stylesheet" href="index.css">
    <link rel="stylesheet" href="swagger-ui.css">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script src="start.js"></script>
  </body>
</html>
"""
# A file, because the page's Content-Security-Policy allows no script within it. validatorUrl is a
# public server, which it would ask to validate the document.
_START = """SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "../openapi.json",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


def docs(name: str) -> Blueprint:
    """Return the routes of /docs for a service of that name."""
    page = _PAGE.format(name=html.escape(name))
    pages = Blueprint("docs", __name__)
    # Opens with /predict expanded and ready to send.
    pages.add_url_rule("/docs", "open", lambda: redirect("docs/#/inference/predict"))
    pages.add_url_rule("/docs/", "page", lambda: Response(page, mimetype="text/html"))
    pages.add_url_rule(
        "/docs/start.js", "start", lambda: Response(_START, mimetype="text/javascript")
    )
    pages.add_url_rule("/docs/<path:path>", "file", lambda path: send_from_directory(_FILES, path))
    return pages
