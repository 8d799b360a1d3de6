"""The body of POST /feedback, decoded as strictly as one of /predict: bytes to items."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.artifact import Manifest, Outputs
from service.errors import Detail, RequestError
from service.explain import bad_request, explain, malformed, refuse_duplicate_keys

KEY = "feedback"
MOST_NAMED = 10  # classes that an error lists

# What callers name: printable, and no line's end, which `$` alone would let pass.
Name = Annotated[str, Meta(pattern=r"^[!-~]+$(?!\n)", max_length=128)]
Index = Annotated[int, Meta(ge=0, lt=2**31, description="of the instance in its request")]
# So that neither a square of an error nor a sum of squares is infinite.
Number = Annotated[float, Meta(ge=-1e100, le=1e100)]
Text = Annotated[str, Meta(max_length=256)]
_LABELS: dict[str, Any] = {
    "int": Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)],
    "bool": bool,
    "float": Number,
}
When = Annotated[datetime, Meta(tz=True, description="when the prediction was made, for its delay")]
Value = Annotated[float, Meta(description="a business number of yours, for reports only")]

Comparison = Literal["label", "number", "none"]


class Item(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What one instance was answered, by whom, and the truth of it."""

    request_id: Name
    index: Index
    version: Name
    prediction: Any
    truth: Any
    answered_at: When | UnsetType = UNSET
    value: Value | UnsetType = UNSET


class FeedbackResponse(msgspec.Struct, forbid_unknown_fields=True):
    """How many truths were taken: all of the request."""

    accepted: int


def comparison(outputs: Outputs) -> Comparison:
    """Return how the first field of an answer, as in training, is held against the truth.

    A label is right or wrong, a number has an error; lists, objects and dates have neither.
    """
    kind = outputs.fields[0].type
    if outputs.kind == "classification" or kind in ("string", "bool"):
        return "label"
    return "number" if kind in ("float", "int") else "none"


def request_type(outputs: Outputs, most: int | None = None) -> Any:
    """Return the type of a request body for a model with these outputs."""
    first = outputs.fields[0]
    match comparison(outputs):
        case "label":
            truth: Any = _LABELS.get(first.type, Text)
        case "number":
            truth = Number
        case "none":
            truth = Text | Number | bool | None
    prediction: Any = truth | None if first.nullable else truth
    about = Meta(description=f"`{first.name}` of the answer")
    fields = [("prediction", Annotated[prediction, about]), ("truth", truth)]
    item: Any = msgspec.defstruct("Feedback", fields, bases=(Item,), kw_only=True, gc=False)
    items = Annotated[list[item], Meta(min_length=1, max_length=most)]
    return msgspec.defstruct("FeedbackRequest", [(KEY, items)], forbid_unknown_fields=True)


class Items:
    """Decodes request bodies for one model."""

    def __init__(self, manifest: Manifest, most: int) -> None:
        """`most`: how many items a request may have."""
        self._most = most
        self._version = manifest.version
        self._classes = dict.fromkeys(manifest.outputs.classes)  # in their order
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            request_type(manifest.outputs)
        )

    def decode(self, body: bytes) -> list[Item]:
        """Return the items of a body.

        Raises RequestError: 413 for too many, 400 for all else, with the offending path.
        """
        try:
            items: list[Item] = self._decoder.decode(body).feedback
        except msgspec.ValidationError as error:
            raise bad_request(explain(str(error), body, KEY)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_request(malformed(body, error)) from None
        if len(items) > self._most:
            raise RequestError(413, f"at most {self._most} truths in one request")
        refuse_duplicate_keys(body, 1 + sum(map(_strings, items)))
        if self._classes:
            for i, item in enumerate(items):
                if item.version == self._version:
                    self._refuse_other_classes(i, item)
        return items

    def _refuse_other_classes(self, i: int, item: Item) -> None:
        """Of this version the classes are known, of others only their type."""
        for name, value in ("prediction", item.prediction), ("truth", item.truth):
            if value not in self._classes and value is not None:
                named = ", ".join(map(str, [*self._classes][:MOST_NAMED]))
                more = ", …" if len(self._classes) > MOST_NAMED else ""
                message = f"expected one of the model's classes: {named}{more}"
                raise bad_request(Detail(f"{KEY}[{i}].{name}", message))


def _strings(item: Item) -> int:
    """Return how many keys, strings and dates an item was made of."""
    return (
        7
        + 2 * (item.answered_at is not UNSET)
        + (item.value is not UNSET)
        + (type(item.prediction) is str)
        + (type(item.truth) is str)
    )
