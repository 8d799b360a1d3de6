"""The golden rows: few, but such as show what a model can say, so that a change of it shows too."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from service.artifact import Output
from service.record import Answer

MOST = 32


def choose(fields: Sequence[Output], answers: Sequence[Answer], truth: Sequence[Any]) -> list[int]:
    """Return the positions of at most MOST rows, the same for the same answers.

    Of each field, those are a row for each value if there are few, else those with the least and
    the largest number, and one with null; and a row for each class of the truth, which is empty
    if there are none. What room is left is for rows from all over the first number's range.
    """
    columns = {field.name: [answer[field.name] for answer in answers] for field in fields}
    turns = [_telling(field, columns[field.name]) for field in fields]
    turns.insert(1, _first_of_each((value,) for value in truth))
    # A field that says much leaves room for the others: they take turns.
    telling = [row for turn in zip_longest(*turns) for row in turn if row is not None]
    return list(dict.fromkeys([*telling, *_spread(fields, columns, len(answers))]))[:MOST]


def _telling(field: Output, values: list[Any]) -> list[int]:
    if field.type == "object":
        return []
    if field.type == "list":
        elements = field.items if field.items != "float" else None
        return _first_of_each(value or (None,) for value in values) if elements else []
    found = _first_of_each((value,) for value in values)
    if field.type in ("float", "int") and len(found) > MOST:
        known = [row for row, value in enumerate(values) if value is not None]
        null = [row for row in found if values[row] is None]
        return [min(known, key=values.__getitem__), max(known, key=values.__getitem__), *null]
    return found


def _first_of_each(values: Iterable[Iterable[Hashable]]) -> list[int]:
    """Return for each value the first row that has it, in the order of rows."""
    first: dict[Hashable, int] = {}
    for row, of_row in enumerate(values):
        for value in of_row:
            first.setdefault(value, row)
    return list(dict.fromkeys(first.values()))


def _spread(fields: Sequence[Output], columns: dict[str, list[Any]], rows: int) -> list[int]:
    numbers = [columns[field.name] for field in fields if field.type in ("float", "int")]
    order = list(range(rows))
    if numbers:
        order.sort(key=lambda row: (numbers[0][row] is None, numbers[0][row] or 0))
    return [order[i] for i in np.linspace(0, rows - 1, min(rows, MOST)).astype(int)]
