"""The OpenAPI document, exact for this model: generated from the manifest's public facts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.artifact import Histogram, Input, Manifest, Output
from service.errors import ErrorBody
from service.feedback import items
from service.schema import (
    TYPES,
    Schema,
    has_time_zone,
    number_limits,
    object_type,
    request_type,
)

_SKELETON = Path(__file__).with_suffix(".json")
_DATE = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
# Values for an example where no public one is known.
_ITEMS = {
    "float": 0.5,
    "int": 1,
    "bool": True,
    "string": "text",
    "datetime": "2026-01-31T12:00:00",
}


def openapi(manifest: Manifest, schema: Schema, root_path: str = "") -> dict[str, Any]:
    """Return the document: what is alike for all models is in openapi.json.

    `root_path`: what stands before the paths where clients ask.
    """
    document: dict[str, Any] = msgspec.json.decode(_SKELETON.read_bytes())
    document["info"] = {
        "title": manifest.name,
        "version": manifest.version,
        "description": f"A {manifest.outputs.kind} model, trained {manifest.created_at} on "
        f"{manifest.data.rows} rows. [Model card]({root_path}/)",
    }
    if root_path:
        document["servers"] = [{"url": root_path}]
    document["components"]["schemas"] = _schemas(manifest, schema)
    instance = {item.name: _example(item) for item in manifest.inputs}
    predict = document["paths"]["/predict"]["post"]
    for place, example in (
        (predict["requestBody"], {"instances": [instance]}),
        (predict["responses"]["200"], {"predictions": [_answer(manifest)]}),
    ):
        place["content"]["application/json"]["example"] = example
    feedback = document["paths"]["/feedback"]["post"]["requestBody"]
    feedback["content"]["application/json"]["example"] = {items.KEY: [_feedback(manifest)]}
    return document


def _schemas(manifest: Manifest, schema: Schema) -> dict[str, Any]:
    fields = [(field.name, _output(field)) for field in manifest.outputs.fields]
    prediction: Any = object_type("Prediction", fields)
    types = [
        request_type(manifest.inputs, _input, schema.max_instances),
        object_type("PredictResponse", [("predictions", list[prediction])]),
        items.request_type(manifest.outputs, schema.max_instances),
        items.FeedbackResponse,
        ErrorBody,
    ]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    if manifest.outputs.classes:
        first = manifest.outputs.fields[0].name
        found["Prediction"]["properties"][first]["enum"] = manifest.outputs.classes
    return found


def _input(item: Input) -> Any:
    """Return the type of an input's values as people should know it.

    The decoder's own is wider: it takes 2.0 for a whole number.
    """
    stated: dict[str, Any] = {}
    about = None
    if limits := number_limits(item):
        stated = {"minimum": limits[0], "maximum": limits[1]}
    if item.minimum is not None:
        about = f"{item.minimum:g} to {item.maximum:g} in the training data"
    elif item.type == "datetime":
        stated = {"format": "date-time"}
        about = "with a time zone"
        if not has_time_zone(item):
            stated["pattern"] = "T[0-9:.]+$"
            about = "without a time zone"
    elif item.categories and item.public:
        shown = ", ".join(item.categories[:10]) + (", …" if len(item.categories) > 10 else "")
        about = f"{shown} in the training data"
    kind: Any = Annotated[TYPES[item.type], Meta(extra_json_schema=stated)]
    return Annotated[kind | None if item.nullable else kind, Meta(description=about)]


def _example(item: Input) -> Any:
    """Return a made-up value as a request may have it: real rows are nobody's business."""
    if item.minimum is not None and item.maximum is not None:
        middle = item.minimum / 2 + item.maximum / 2
        if item.type == "float":
            return min(max(float(f"{middle:.4g}"), item.minimum), item.maximum)
        low, high = number_limits(item) or (0, 0)
        return min(max(int(middle), int(low)), int(high))
    if item.type == "datetime":
        return "2026-01-31T12:00:00" + ("Z" if has_time_zone(item) else "")
    if item.type == "bool":
        return True
    return item.categories[0] if item.categories and item.public else "text"


def _output(field: Output) -> Any:
    """Return the type of a field of the answers."""
    kind: Any = (TYPES | {"datetime": _DATE}).get(field.type)
    if field.items:
        item: Any = TYPES[field.items]
        kind = list[item] if field.type == "list" else dict[str, item]
    return kind | None if field.nullable else kind


def _answer(manifest: Manifest) -> dict[str, Any]:
    """Return an answer of the right form, made up: it is not that to the request."""
    outputs, spread = manifest.outputs, manifest.baseline.outputs
    answer = {field.name: _said(field, spread.get(field.name)) for field in outputs.fields}
    if outputs.classes:
        answer[outputs.fields[0].name] = outputs.classes[0]
    return answer


def _said(field: Output, spread: Histogram | None) -> Any:
    if field.items:
        return [_ITEMS[field.items]] if field.type == "list" else {"name": _ITEMS[field.items]}
    if spread and spread.values and field.type == "string":
        return spread.values[0]
    if spread and spread.edges:
        middle = spread.edges[0] / 2 + spread.edges[-1] / 2
        return round(middle) if field.type == "int" else float(f"{middle:.4g}")
    return _ITEMS[field.type]


def _feedback(manifest: Manifest) -> dict[str, Any]:
    """Return an item of feedback of the right form, made up."""
    said: Any = None
    if items.comparison(manifest.outputs) != "none":
        said = _answer(manifest)[manifest.outputs.fields[0].name]
    return {
        "request_id": "955483fc67d44c9db3a3b829b69eff07",
        "index": 0,
        "version": manifest.version,
        "prediction": said,
        "truth": said,
        "answered_at": "2026-01-31T12:00:00Z",
    }
