"""Vertex AI's contract of custom containers: routes that the platform names, /predict's bodies.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
The platform hands errors on as they are, so they have /predict's shape.
"""

from __future__ import annotations

from service.engine import Engine
from service.platforms import Vertex
from service.predict import Contract
from service.protocols.protocol import Protocol, when_ready


def protocol(engine: Engine) -> Protocol:
    """Raises Refusal for variables of the platform that are none."""
    routes = Vertex.from_env()
    return Protocol(
        contracts=[Contract(routes.aip_predict_route, engine.schema.decode)],
        probes={routes.aip_health_route: when_ready(engine, {"status": "ok"})},
    )
