"""The Open Inference Protocol, V2, over REST and without its binary extension.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import Any

import msgspec

from service.body import JSON
from service.engine import Engine
from service.predict import Contract
from service.protocols.protocol import Protocol, View, plain_error, when_ready
from service.protocols.tensors import Rows, Tensors
from service.record import RequestRecord
from service.request_id import request_id

_encode = msgspec.json.Encoder().encode


def protocol(engine: Engine) -> Protocol:
    manifest = engine.manifest
    name, version = manifest.name, manifest.version
    tensors = Tensors(engine.schema, manifest.outputs.fields)
    server = {"name": name, "version": version, "extensions": []}
    metadata = {
        "name": name,
        "versions": [version],
        "platform": "python_joblib",
        "inputs": tensors.inputs(),
        "outputs": tensors.outputs(),
    }

    def encode(environ: dict[str, Any], record: RequestRecord) -> bytes:
        rows = record.rows
        assert isinstance(rows, Rows)
        return _encode(
            {
                "model_name": name,
                "model_version": version,
                "id": rows.id or request_id(environ),
                "outputs": tensors.answer(rows.fields, record.answers),
            }
        )

    models = "/v2/models"
    ours = [f"{models}/{name}", f"{models}/{name}/versions/{version}"]
    probes: dict[str, View] = {
        "/v2/health/live": lambda: {"live": True},
        "/v2/health/ready": when_ready(engine, {"ready": True}),
    }
    probes |= {f"{path}/ready": when_ready(engine, {"name": name, "ready": True}) for path in ours}
    pages: dict[str, View] = {"/v2": lambda: server, models: lambda: {"models": [name]}}
    pages |= {path: lambda: metadata for path in ours}
    return Protocol(
        contracts=[
            Contract(f"{path}/infer", tensors.decode, encode, plain_error, JSON) for path in ours
        ],
        probes=probes,
        pages=pages,
        models=models,
        model=f"{name}, version {version}",
    )
