"""What differs between a definition and what Datadog holds."""

from __future__ import annotations

import difflib
from typing import Any

import yaml


def changes(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return the lines of a diff from theirs to ours; none if nothing of ours is different.

    Only what we define is compared: Datadog adds defaults, ids and dates to what it is sent. A line
    taken out of a definition shows by the definition's digest, which is among the tags.
    """
    before, after = _text(_of_interest(theirs, ours)), _text(_of_interest(ours, ours))
    return list(difflib.unified_diff(before, after, "in Datadog", "in datadog/", n=2, lineterm=""))


def _of_interest(value: Any, ours: Any) -> Any:
    """Return the parts of the value that ours has too, in our order."""
    if isinstance(value, dict) and isinstance(ours, dict):
        return {
            key: _of_interest(_plain(key, value[key]), _plain(key, ours[key]))
            for key in ours
            if key in value
        }
    if isinstance(value, list) and isinstance(ours, list):
        pairs = zip(value, ours + [None] * len(value), strict=False)
        return [item if mine is None else _of_interest(item, mine) for item, mine in pairs]
    # Datadog answers 1 where it was sent 1.0, and the other way round.
    return float(value) if type(value) is int else value


def _plain(key: str, value: Any) -> Any:
    """Undo what Datadog changes at will: the order of tags, and a monitor type's two names."""
    if key == "tags" and isinstance(value, list):
        return sorted(value)
    return "query alert" if (key, value) == ("type", "metric alert") else value


class _Dumper(yaml.SafeDumper):
    """YAML in which a text of several lines is one, so that a diff shows the line that changed."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def _text(value: Any) -> list[str]:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text.splitlines()
