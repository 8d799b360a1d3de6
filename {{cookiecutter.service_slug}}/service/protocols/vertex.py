"""Vertex AI's contract of custom containers: routes that the platform names, /predict's bodies.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
The platform hands errors on as they are, so they have /predict's shape.
"""

from __future__ import annotations

from service.engine import Engine
from service.predict import Contract
from service.protocols.protocol import Protocol
from service.protocols.settings import Vertex


def protocol(engine: Engine) -> Protocol:
    """Raises Refusal for variables of the platform that are none."""
    routes = Vertex.from_env()

    def health() -> tuple[dict[str, str], int]:
        return ({"status": "ok"}, 200) if engine.ready else ({"status": "not ready"}, 503)

    return Protocol(
        contracts=[Contract(routes.aip_predict_route, engine.schema.decode)],
        probes={routes.aip_health_route: health},
    )
