"""Azure's conditions: the few functions that ours are made of, and no others."""

from __future__ import annotations

import re

from steps import Mistake


def evaluate(text: str, facts: dict[str, str]) -> bool:
    """Return whether a condition holds; raises Mistake for what is not in it by that name."""
    tokens = re.findall(r"'[^']*'|[\w.]+\['[\w.]+'\]|[\w.]+|[(),]", text)
    if "".join(tokens) != text.replace(" ", "") and "'" not in text:
        raise Mistake(f"condition: {text}")
    value = _value(tokens, facts)
    if tokens or not isinstance(value, bool):
        raise Mistake(f"condition: {text}")
    return value


def _value(tokens: list[str], facts: dict[str, str]) -> str | bool:
    token = tokens.pop(0) if tokens else ""
    if token.startswith("'"):
        return token[1:-1]
    if token == "true":
        return True
    if tokens[:1] != ["("]:
        if token not in facts:
            raise Mistake(f"condition: unknown {token}")
        return facts[token]
    tokens.pop(0)
    given = []
    while tokens and tokens[0] != ")":
        given.append(_value(tokens, facts))
        if tokens[:1] == [","]:
            tokens.pop(0)
    if not tokens:
        raise Mistake(f"condition: {token}( is not closed")
    tokens.pop(0)
    match token:
        case "and":
            return all(given)
        case "eq":
            return given[0] == given[1]
        case "ne":
            return given[0] != given[1]
        case "in":
            return given[0] in given[1:]
        case "succeeded" | "always":
            return True
        case "failed":
            return False
    raise Mistake(f"condition: unknown {token}()")
