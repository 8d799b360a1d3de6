"""KServe's V1 protocol: /predict's bodies below the model's name.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from __future__ import annotations

from service.body import JSON
from service.engine import Engine
from service.predict import Contract
from service.protocols.protocol import Protocol, plain_error, when_ready


def protocol(engine: Engine) -> Protocol:
    name, models = engine.manifest.name, "/v1/models"
    path = f"{models}/{name}:predict"
    return Protocol(
        contracts=[Contract(path, engine.schema.decode, error=plain_error, unsaid=JSON)],
        probes={f"{models}/{name}": when_ready(engine, {"name": name, "ready": True})},
        pages={models: lambda: {"models": [name]}},
        models=models,
        model=name,
    )
