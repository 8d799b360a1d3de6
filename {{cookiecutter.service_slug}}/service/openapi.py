"""The OpenAPI document, exact for this model: generated from the manifest, with a real example."""

from __future__ import annotations

from typing import Any

from service.artifact import Input, Manifest, Output
from service.schema import Schema, number_limits

Json = dict[str, Any]

_TYPES = {"float": "number", "int": "integer", "bool": "boolean", "string": "string"}
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
    inputs = manifest.inputs
    return {
        "Instance": {
            "type": "object",
            "properties": {item.name: _input(item) for item in inputs},
            "required": [item.name for item in inputs if not item.nullable],
            "additionalProperties": False,
        },
        "InstanceInOrder": {
            "type": "array",
            "description": "The values of an instance in order: "
            + ", ".join(item.name for item in inputs),
            "prefixItems": [_input(item) for item in inputs],
            "minItems": len(inputs),
            "maxItems": len(inputs),
            "items": False,
        },
        "PredictRequest": {
            "type": "object",
            "properties": {
                "instances": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": schema.max_instances,
                    "items": {"anyOf": [_ref("Instance"), _ref("InstanceInOrder")]},
                },
                "parameters": {
                    "type": ["object", "null"],
                    "additionalProperties": False,
                    "description": "This model takes none",
                },
            },
            "required": ["instances"],
            "additionalProperties": False,
        },
        "Prediction": {
            "type": "object",
            "properties": {
                field.name: _output(field, manifest, first=i == 0)
                for i, field in enumerate(manifest.outputs.fields)
            },
            "required": [field.name for field in manifest.outputs.fields],
            "additionalProperties": False,
        },
        "PredictResponse": {
            "type": "object",
            "properties": {"predictions": {"type": "array", "items": _ref("Prediction")}},
            "required": ["predictions"],
            "additionalProperties": False,
        },
        "Error": {
            "type": "object",
            "properties": {
                "error": {"type": "string", "description": "One line"},
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
                        "required": ["path", "message"],
                    },
                },
                "request_id": {"type": "string"},
            },
            "required": ["error", "details", "request_id"],
            "additionalProperties": False,
        },
    }


def _input(item: Input) -> Json:
    kind = _TYPES[item.type]
    found: Json = {"type": [kind, "null"] if item.nullable else kind}
    if limits := number_limits(item):
        found |= {"minimum": limits[0], "maximum": limits[1]}
    if item.minimum is not None:
        found["description"] = f"{item.minimum:g} to {item.maximum:g} in the training data"
    elif item.categories:
        shown = ", ".join(item.categories[:10]) + (", …" if len(item.categories) > 10 else "")
        found["description"] = f"{shown} in the training data"
    return found


def _output(field: Output, manifest: Manifest, first: bool) -> Json:
    found: Json = {"type": _TYPES[field.type]}
    if first and manifest.outputs.classes:
        found["enum"] = manifest.outputs.classes
    return found


def _ref(name: str) -> Json:
    return {"$ref": _REF + name}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _status() -> Json:
    return {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


def _error(description: str) -> Json:
    return {"description": description, "content": _json(_ref("Error"))}


def _headers(*names: str) -> Json:
    return {name: {"schema": {"type": "string"}} for name in names}


def _get(summary: str, tag: str, content: Json, others: Json | None = None) -> Json:
    responses = {"200": {"description": summary, "content": content}} | (others or {})
    return {"get": {"summary": summary, "tags": [tag], "responses": responses}}
