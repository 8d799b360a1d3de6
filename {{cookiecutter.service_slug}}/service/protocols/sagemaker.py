"""Amazon SageMaker's contract of inference containers: /ping, and /invocations in JSON.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
The argument `serve`, with which containers are started, is taken by service/__main__.py. The
platform hands errors on as they are, so they have /predict's shape.
"""

from __future__ import annotations

from service.engine import Engine
from service.predict import Contract
from service.protocols.protocol import Protocol, when_ready


def protocol(engine: Engine) -> Protocol:
    return Protocol(
        contracts=[Contract("/invocations", engine.schema.decode)],
        probes={"/ping": when_ready(engine, "")},
    )
