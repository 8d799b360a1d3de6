"""KServe's V1 protocol: /predict's bodies below the model's name.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from __future__ import annotations

from typing import Any

from service.body import JSON
from service.engine import Engine
from service.predict import Contract
from service.protocols.protocol import Protocol, plain_error


def protocol(engine: Engine) -> Protocol:
    name = engine.manifest.name
    models = "/v1/models"
    path = f"{models}/{name}:predict"
    # KServe's own client has not always said what it sends.
    contract = Contract(path, engine.schema.decode, error=plain_error, unsaid=JSON)

    def ready() -> tuple[dict[str, Any], int]:
        if engine.ready:
            return {"name": name, "ready": True}, 200
        return {"error": f"model {name} is not ready"}, 503

    return Protocol(
        contracts=[contract],
        probes={f"{models}/{name}": ready},
        pages={models: lambda: {"models": [name]}},
        models=models,
        model=name,
    )
