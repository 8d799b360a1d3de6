"""The OpenAPI document, exact for this model: generated from the manifest, with a real example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.artifact import Input, Manifest, Output
from service.errors import ErrorBody
from service.schema import Schema, number_limits, request_type

Json = dict[str, Any]

_TYPES = {"float": float, "int": int, "bool": bool, "string": str}
_REF = "#/components/schemas/"


def openapi(manifest: Manifest, schema: Schema) -> Json:
    golden = manifest.golden
    example = {"instances": golden.instances[:1]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": manifest.name,
            "version": manifest.version,
            "description": f"A {manifest.outputs.kind} model, trained {manifest.created_at} on "
            f"{manifest.data.rows} rows. [Model card](/)",
        },
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Predict: an answer for each instance, in order",
                    "operationId": "predict",
                    "tags": ["inference"],
                    "parameters": [
                        {
                            "name": "X-Request-Timeout-Ms",
                            "in": "header",
                            "description": "Give up after this long",
                            "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {
                                "schema": {"$ref": _REF + "PredictRequest"},
                                "example": example,
                            }
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "The answers",
                            "headers": _headers("X-Request-Id", "X-Model-Version", "Server-Timing"),
                            "content": {
                                "application/json": {
                                    "schema": {"$ref": _REF + "PredictResponse"},
                                    "example": {"predictions": golden.predictions[:1]},
                                }
                            },
                        },
                        "400": _error("The body is not what this model takes; details say where"),
                        "408": _error("The body did not arrive in time"),
                        "413": _error("The body is too large, or has too many instances"),
                        "415": _error("The body is not application/json"),
                        "500": _error("The service is at fault"),
                        "503": _error("Overloaded: Retry-After says when to try again"),
                        "504": _error("No answer within X-Request-Timeout-Ms"),
                    },
                }
            },
            "/healthz": _get("The process answers", "health", _json(_status())),
            "/readyz": _get(
                "The model is verified, warmed up and not draining",
                "health",
                _json(_status()),
                {"503": {"description": "Not ready", "content": _json(_status())}},
            ),
            "/metadata": _get("The manifest of the model", "model", _json({"type": "object"})),
            "/openapi.json": _get("This document", "model", _json({"type": "object"})),
            "/": _get("The model card", "model", {"text/html": {"schema": {"type": "string"}}}),
        },
        "components": {"schemas": _schemas(manifest, schema)},
    }


def _schemas(manifest: Manifest, schema: Schema) -> Json:
    types = [
        request_type(manifest.inputs, _input, schema.max_instances),
        _response_type(manifest.outputs.fields),
        ErrorBody,
    ]
    _, found = msgspec.json.schema_components(types, ref_template=_REF + "{name}")
    if manifest.outputs.classes:
        first = manifest.outputs.fields[0].name
        found["Prediction"]["properties"][first]["enum"] = manifest.outputs.classes
    return found


def _response_type(fields: Sequence[Output]) -> Any:
    names = [f"f{i}" for i in range(len(fields))]
    prediction: Any = msgspec.defstruct(
        "Prediction",
        [(name, _TYPES[field.type]) for name, field in zip(names, fields, strict=True)],
        rename=dict(zip(names, (field.name for field in fields), strict=True)),
        forbid_unknown_fields=True,
    )
    return msgspec.defstruct(
        "PredictResponse", [("predictions", list[prediction])], forbid_unknown_fields=True
    )


def _input(item: Input) -> Any:
    """Return the type of an input's values as people should know it.

    The decoder's own is wider: it takes 2.0 for a whole number.
    """
    low, high = number_limits(item) or (None, None)
    kind: Any = Annotated[_TYPES[item.type], Meta(ge=low, le=high)]
    about = None
    if item.minimum is not None:
        about = f"{item.minimum:g} to {item.maximum:g} in the training data"
    elif item.categories:
        shown = ", ".join(item.categories[:10]) + (", …" if len(item.categories) > 10 else "")
        about = f"{shown} in the training data"
    return Annotated[kind | None if item.nullable else kind, Meta(description=about)]


def _ref(name: str) -> Json:
    return {"$ref": _REF + name}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _status() -> Json:
    return {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


def _error(description: str) -> Json:
    return {"description": description, "content": _json(_ref("ErrorBody"))}


def _headers(*names: str) -> Json:
    return {name: {"schema": {"type": "string"}} for name in names}


def _get(summary: str, tag: str, content: Json, others: Json | None = None) -> Json:
    responses = {"200": {"description": summary, "content": content}} | (others or {})
    return {"get": {"summary": summary, "tags": [tag], "responses": responses}}
