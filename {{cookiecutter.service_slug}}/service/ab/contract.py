"""Whether a candidate's answer is one that callers of live can read: before they get it."""

from __future__ import annotations

from typing import Any

import msgspec

from service.artifact import Output, Outputs
from service.shadow.client import Answer, Failed

_TYPES: dict[str, Any] = {"float": float, "int": int, "bool": bool, "string": str, "datetime": str}


class Contract:
    """The fields that live's answers have, with their types; a candidate may have more."""

    def __init__(self, outputs: Outputs) -> None:
        # Names are any text, so they cannot be those of Python's attributes.
        fields = [(f"field_{i}", _type(field)) for i, field in enumerate(outputs.fields)]
        names = {f"field_{i}": field.name for i, field in enumerate(outputs.fields)}
        row: Any = msgspec.defstruct("Row", fields, rename=names)
        answer = msgspec.defstruct("Predictions", [("predictions", list[row])])
        self._decode: Any = msgspec.json.Decoder(answer).decode

    def check(self, answer: Answer, rows: int) -> None:
        """Raise Failed, unless the answer is a 200 with as many predictions as there are rows."""
        if answer.status != 200:
            raise Failed("redirect" if 300 <= answer.status < 400 else f"{answer.status // 100}xx")
        try:
            found = len(self._decode(answer.body).predictions)
        except msgspec.ValidationError:
            raise Failed("shape") from None
        except (ValueError, RecursionError):
            raise Failed("not_json") from None
        if found != rows:
            raise Failed("shape")


def _type(field: Output) -> Any:
    kind = _TYPES.get(field.type)
    if kind is None:
        item: Any = _TYPES[field.items] | None if field.items else Any
        kind = list[item] if field.type == "list" else dict[str, item]
    return kind | None if field.nullable else kind
