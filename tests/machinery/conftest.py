"""Tests of a service's machinery, which its owner neither edits nor runs: `make machinery`.

They run in the environment of a generated service, from its folder: `service`, `training`, `tools`
and `tests` are those of the service, and so are the fixtures with the toy's artifact.
"""

from __future__ import annotations

pytest_plugins = ["tests.conftest"]
