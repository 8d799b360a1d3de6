"""The ceiling: what gunicorn and gevent allow when a request costs next to nothing.

It decodes and checks the rows and encodes an answer of the usual shape, without framework or model.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

Row = Annotated[list[float], msgspec.Meta(min_length=30, max_length=30)]


class Request(msgspec.Struct):
    instances: list[Row]


decode = msgspec.json.Decoder(Request).decode
encode = msgspec.json.Encoder().encode


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    try:
        rows = decode(environ["wsgi.input"].read()).instances
    except msgspec.ValidationError as error:
        status, answer = "400 Bad Request", encode({"error": str(error)})
    else:
        status = "200 OK"
        answer = encode({"predictions": [{"label": "malignant", "score": row[0]} for row in rows]})
    start_response(
        status, [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    )
    return [answer]
