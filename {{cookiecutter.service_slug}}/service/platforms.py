"""What platforms say by variables of their own, which they set in every container."""

from __future__ import annotations

from typing import Annotated

import msgspec

from service.settings import FromEnvironment, Settings, about, text_about

_ROUTE = r"/|(/[A-Za-z0-9._~:-]+)+"
_FORM = "a path like /v1/endpoints/1/deployedModels/2:predict"


class SageMaker(FromEnvironment, frozen=True, kw_only=True):
    sagemaker_bind_to_port: Annotated[int, about("port to listen on", 1, 65535)] = 8080


class Vertex(FromEnvironment, frozen=True, kw_only=True):
    aip_http_port: Annotated[int, about("port to listen on", 1, 65535)] = 8080
    aip_health_route: Annotated[str, text_about("of readiness", _ROUTE, _FORM)] = "/health"
    aip_predict_route: Annotated[str, text_about("of predictions", _ROUTE, _FORM)] = "/predict"


def on_platform(settings: Settings) -> Settings:
    """Return the settings with the port of the platform that PROTOCOLS names; raises Refusal."""
    if "vertex" in settings.spoken:
        return msgspec.structs.replace(settings, port=Vertex.from_env().aip_http_port)
    if "sagemaker" in settings.spoken:
        return msgspec.structs.replace(settings, port=SageMaker.from_env().sagemaker_bind_to_port)
    return settings
