"""Asks a service by its platforms' own clients, in build/clients: `... kserve|mlserver URL MODEL`.

Instances, as /predict takes them, come by stdin as JSON; what the clients made of the answers goes
to stdout. The libraries cannot be in one process: each registers the same protocol buffers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import pandas as pd

Instances = list[dict[str, Any]]


async def kserve(url: str, model: str, instances: Instances) -> dict[str, Any]:
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
    from kserve.protocol.rest.v2_datamodels import (
        InferenceRequest,
        InferenceResponse,
        ModelMetadataResponse,
        ServerMetadataResponse,
    )

    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=name)) for name in ("v1", "v2"))

    async def refused(client: Any, data: Any, name: str = model) -> str:
        try:
            await client.infer(url, data, model_name=name)
        except httpx.HTTPStatusError as error:
            return f"{error.response.status_code} {error}"
        return "nothing refused"

    kinds = {"int64": "INT64", "float64": "FP64", "bool": "BOOL"}
    tensors, binary = [], []
    for name, column in pd.DataFrame(instances).items():
        for inputs in tensors, binary:
            kind = kinds.get(str(column.dtype), "BYTES")
            inputs.append(InferInput(name, [len(column)], kind))
            inputs[-1].set_data_from_numpy(column.to_numpy(), binary_data=inputs is binary)
    request = InferRequest(model, tensors, request_id="asked-1")
    InferenceRequest.model_validate(request.to_rest()[0])
    answer = await v2.infer(url, request, model_name=model)
    InferenceResponse.model_validate(answer.to_rest()[0])
    metadata = httpx.get(f"{url}/v2/models/{model}").json()
    ModelMetadataResponse.model_validate(metadata)
    ServerMetadataResponse.model_validate(httpx.get(f"{url}/v2").json())
    return {
        "v1": await v1.infer(url, {"instances": instances}, model_name=model),
        "v2": {output.name: output.as_numpy().tolist() for output in answer.outputs},
        "id": answer.id,
        "metadata": metadata,
        "ready": [
            await v1.is_model_ready(url, model),
            await v2.is_server_live(url),
            await v2.is_server_ready(url),
            await v2.is_model_ready(url, model),
        ],
        "refused": [
            await refused(v1, {"instances": [{}]}),
            await refused(v1, {"instances": instances}, "other"),
            await refused(v2, request, "other"),
            await refused(v2, InferRequest(model, binary)),
        ],
    }


async def mlserver(url: str, model: str, instances: Instances) -> dict[str, Any]:
    from mlserver.codecs import NumpyRequestCodec, PandasCodec

    # Generated from the protocol's OpenAPI (dataplane.yaml).
    from mlserver.types import (
        InferenceErrorResponse,
        InferenceResponse,
        MetadataModelResponse,
        MetadataServerResponse,
    )

    def asked(request: Any) -> Any:
        answer = httpx.post(f"{url}/v2/models/{model}/infer", json=json.loads(request.json()))
        assert answer.status_code == 200, answer.text
        response = InferenceResponse.model_validate_json(answer.content)
        return PandasCodec.decode_response(response).to_dict("list")

    MetadataServerResponse.model_validate_json(httpx.get(f"{url}/v2").content)
    MetadataModelResponse.model_validate_json(httpx.get(f"{url}/v2/models/{model}").content)
    refused = httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": []})
    assert refused.status_code == 400
    assert InferenceErrorResponse.model_validate_json(refused.content).error
    frame = pd.DataFrame(instances)
    found = {"pandas": asked(PandasCodec.encode_request(frame))}
    if all(dtype == "float64" for dtype in frame.dtypes):
        found["numpy"] = asked(NumpyRequestCodec.encode_request(frame.to_numpy()))
    return found


if __name__ == "__main__":
    ask = {"kserve": kserve, "mlserver": mlserver}[sys.argv[1]]
    print(json.dumps(asyncio.run(ask(*sys.argv[2:], json.load(sys.stdin)))))
