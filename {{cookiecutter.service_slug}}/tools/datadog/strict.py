"""The client's models of Datadog's objects, made strictly: a mistake is named, not passed on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiTypeError, ApiValueError
from datadog_api_client.model_utils import ModelComposed, ModelNormal, ModelSimple, OpenApiModel

from tools.datadog.definitions import Invalid


def typed(client: ApiClient, model: type[Any], body: Any, where: str) -> Any:
    """Return the body as the client's model.

    Raises Invalid, naming the place, for a wrong type or value, and for a key that the model does
    not have: the client by itself lets unknown values and keys pass.
    """
    try:
        made = client.deserialize(json.dumps(body), (model,), True)
    except (ApiTypeError, ApiValueError) as error:
        raise Invalid(f"{where}: {error}") from None
    for fault in _faults(made, where):
        raise Invalid(fault)
    return made


def _faults(made: Any, where: str) -> Iterator[str]:
    if isinstance(made, list):
        for index, item in enumerate(made):
            yield from _faults(item, f"{where}[{index}]")
    elif isinstance(made, ModelComposed):
        yield from _faults(made.get_oneof_instance(), where)
    elif isinstance(made, ModelNormal):
        # An object that fits none of the forms the client knows has no types: see `_unparsed`.
        types = getattr(made, "openapi_types", {})
        for key, item in made._data_store.items():
            if types and key not in types:
                yield f"{where}: nothing is called {key!r} here"
            else:
                yield from _faults(item, f"{where}.{key}")
    if isinstance(made, OpenApiModel) and made._unparsed:
        what = repr(made.value) if isinstance(made, ModelSimple) else "of this form"
        yield f"{where}: Datadog knows nothing {what}"
