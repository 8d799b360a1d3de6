"""What text is no category but free, and so may hold anything: it is shown on no page."""

from __future__ import annotations

from collections.abc import Sequence

from service.artifact import Output
from service.record import Answer

# Text is free if there are more values or longer ones, in characters; or if most of it is said
# once, and that is more than a few.
MOST_VALUES = 100
MAX_LENGTH = 60
FEW = 20


def is_free_text(found: Sequence[str]) -> bool:
    """Tell whether values, one for each time that it is said, are free text."""
    values = set(found)
    most = min(MOST_VALUES, max(FEW, len(found) // 2))
    return len(values) > most or max(map(len, values), default=0) > MAX_LENGTH


def texts(field: Output, answers: Sequence[Answer]) -> list[str]:
    """Return all text in a field of the answers: values, elements of lists, keys of objects."""
    if field.type != "object" and "string" not in (field.type, field.items):
        return []
    found: list[str] = []
    for value in (answer[field.name] for answer in answers):
        if isinstance(value, dict):
            found += value if field.items != "string" else [*value, *value.values()]
        elif value is not None:
            found += [value] if isinstance(value, str) else value
    return found
