"""Contracts of the platforms around, each off unless the setting PROTOCOLS names it.

    protocol.py                   what a contract consists of
    kserve_v1.py                  KServe's V1
    v2.py, tensors.py             the Open Inference Protocol; tensors to rows, answers to tensors
    sagemaker.py, vertex.py       Amazon SageMaker, Vertex AI; their variables: service/platforms.py

They are forms of POST /predict: its code answers them (service/predict.py), with its admission,
deadlines, ids, metrics, traces and logs. Shadow traffic and the share of users are /predict's only.
"""

from __future__ import annotations

from service.engine import Engine
from service.protocols import kserve_v1, sagemaker, v2, vertex
from service.protocols.protocol import Protocol
from service.settings import Settings

_MAKERS = {
    "kserve-v1": kserve_v1.protocol,
    "v2": v2.protocol,
    "sagemaker": sagemaker.protocol,
    "vertex": vertex.protocol,
}


def protocols(engine: Engine, settings: Settings) -> list[Protocol]:
    """Return those that the settings name; raises Refusal for a platform's variables."""
    return [_MAKERS[name](engine) for name in settings.spoken]
