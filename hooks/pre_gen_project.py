"""Refuse answers that would generate a broken service: in one line, with nothing left on disk."""

import json
import re
import sys

# The answers arrive as JSON inside raw strings, so this file is valid Python before rendering and
# no answer can break out of its quotes after it. The line breaks keep JSON's quotes from ours.
# The slug as answered. In `service_slug` itself cookiecutter.json has replaced slashes by hyphens:
# else cookiecutter would make folders above the service's, and not remove them with it.
slug: str = json.loads(r"""
{{ cookiecutter.__slug_as_answered | tojson }}
""")
team: str = json.loads(r"""
{{ cookiecutter.team | tojson }}
""")
registry: str = json.loads(r"""
{{ cookiecutter.image_registry | tojson }}
""")

HOST = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?"
PATH = r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"

RULES = (
    # A DNS label (RFC 1035), short enough to leave Kubernetes room for its own suffixes.
    (
        "service_slug",
        slug,
        r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?",
        "a lower-case letter, then letters, digits or hyphens, 40 at most, no hyphen last; "
        "for example churn-model",
    ),
    # Valid both as a Kubernetes label value and as a Datadog tag value.
    (
        "team",
        team,
        r"[a-z](?:[a-z0-9._-]{0,61}[a-z0-9])?",
        "a lower-case letter, then letters, digits or . _ -, 63 at most; for example ml-platform",
    ),
    (
        "image_registry",
        registry,
        HOST + PATH,
        "host[:port][/path] in lower case, without a scheme or tag; for example ghcr.io/acme",
    ),
)

for name, value, pattern, wanted in RULES:
    if not re.fullmatch(pattern, value):
        sys.exit(f"ERROR: {name} {value!r} will not do: use {wanted}.")
