"""Datadog through its own client: for each kind of object, what is there, and how to write it.

What we send goes through the client's typed models, strictly. What comes back is read as plain
JSON: the models would drop or refuse what Datadog has learnt since this client was made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import yaml
from datadog_api_client import ApiClient
from datadog_api_client.exceptions import (
    ApiException,
    ApiTypeError,
    ApiValueError,
    NotFoundException,
)
from datadog_api_client.model_utils import ModelComposed, ModelNormal, ModelSimple, OpenApiModel
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest
from datadog_api_client.v1.model.service_level_objective import ServiceLevelObjective
from datadog_api_client.v1.model.service_level_objective_request import (
    ServiceLevelObjectiveRequest,
)
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.software_catalog_api import SoftwareCatalogApi
from datadog_api_client.v2.model.entity_v3_service import EntityV3Service
from datadog_api_client.v2.model.include_type import IncludeType
from datadog_api_client.v2.model.metric_tag_configuration_create_request import (
    MetricTagConfigurationCreateRequest,
)
from datadog_api_client.v2.model.metric_tag_configuration_update_request import (
    MetricTagConfigurationUpdateRequest,
)

from tools.datadog.definitions import Invalid, marks

DASHBOARDS_A_PAGE = 100


class Later(Exception):
    """Not yet possible, and no mistake; the message says when it will be."""


@dataclass(frozen=True)
class Held:
    """An object as Datadog holds it."""

    id: str
    body: dict[str, Any]


class Kind(Protocol):
    """One kind of object. Its methods raise ApiException for what Datadog refuses."""

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        """Return what is there of these names, and what carries our tags under another."""

    def check(self, name: str, body: dict[str, Any]) -> None:
        """Raise Invalid if Datadog would not understand the object."""

    def create(self, name: str, body: dict[str, Any]) -> str:
        """Create the object and return its id. Raises Later if it has to wait."""

    def update(self, name: str, id: str, body: dict[str, Any]) -> None:
        """Make the object of this id what the body says."""


def kinds(client: ApiClient, known: Mapping[str, Any]) -> dict[str, Kind]:
    """Return the kinds of object by name; `known` says which service is asked for."""
    return {
        "slo": Objectives(client, known),
        "monitor": Monitors(client, known),
        "dashboard": Dashboards(client, known),
        "entity": Entities(client, known),
        "percentiles": Percentiles(client),
    }


def typed(client: ApiClient, model: type[Any], body: Any, where: str) -> Any:
    """Return the body as the client's model.

    Raises Invalid, naming the place, for a wrong type or value and for a key that the model does
    not have: left to itself, the client lets both pass.
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
        # The client's word for what fits none of the forms it knows is UnparsedObject.
        types = getattr(made, "openapi_types", {})
        for key, item in made._data_store.items():
            if types and key not in types:
                yield f"{where}: nothing is called {key!r} here"
            else:
                yield from _faults(item, f"{where}.{key}")
    if isinstance(made, OpenApiModel) and made._unparsed:
        what = repr(made.value) if isinstance(made, ModelSimple) else "of this form"
        yield f"{where}: Datadog knows nothing {what}"


class Objectives:
    def __init__(self, client: ApiClient, known: Mapping[str, Any]) -> None:
        self.client, self.known = client, known
        self.api = ServiceLevelObjectivesApi(client)

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        found = _read(self.api.list_slos(tags_query=f"service:{self.known['service']}"))["data"]
        return _ours("slo", self.known, found, order=lambda slo: slo.get("created_at", 0))

    def check(self, name: str, body: dict[str, Any]) -> None:
        typed(self.client, ServiceLevelObjectiveRequest, body, f"slo {name}")

    def create(self, name: str, body: dict[str, Any]) -> str:
        request = typed(self.client, ServiceLevelObjectiveRequest, body, f"slo {name}")
        return str(_read(self.api.create_slo(request))["data"][0]["id"])

    def update(self, name: str, id: str, body: dict[str, Any]) -> None:
        self.api.update_slo(id, typed(self.client, ServiceLevelObjective, body, f"slo {name}"))


class Monitors:
    def __init__(self, client: ApiClient, known: Mapping[str, Any]) -> None:
        self.client, self.known = client, known
        self.api = MonitorsApi(client)

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        found = _read(self.api.list_monitors(monitor_tags=f"service:{self.known['service']}"))
        return _ours("monitor", self.known, found, order=lambda monitor: monitor["id"])

    def check(self, name: str, body: dict[str, Any]) -> None:
        typed(self.client, Monitor, body, f"monitor {name}")

    def create(self, name: str, body: dict[str, Any]) -> str:
        request = typed(self.client, Monitor, body, f"monitor {name}")
        return str(_read(self.api.create_monitor(request))["id"])

    def update(self, name: str, id: str, body: dict[str, Any]) -> None:
        request = typed(self.client, MonitorUpdateRequest, body, f"monitor {name}")
        self.api.update_monitor(int(id), request)


class Dashboards:
    def __init__(self, client: ApiClient, known: Mapping[str, Any]) -> None:
        self.client, self.known = client, known
        self.api = DashboardsApi(client)

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        # The list has no tags, only descriptions: our tags are in there.
        summaries = [
            summary | {"tags": (summary.get("description") or "").split()}
            for summary in self._summaries()
        ]
        ours = _ours("dashboard", self.known, summaries, order=lambda one: one["created_at"])
        return {
            name: Held(one.id, _read(self.api.get_dashboard(one.id))) for name, one in ours.items()
        }

    def _summaries(self) -> Iterator[dict[str, Any]]:
        start = 0
        while page := self._page(start):
            yield from page
            start += len(page)

    def _page(self, start: int) -> list[dict[str, Any]]:
        answer = self.api.list_dashboards(start=start, count=DASHBOARDS_A_PAGE)
        page: list[dict[str, Any]] = _read(answer)["dashboards"]
        return page

    def check(self, name: str, body: dict[str, Any]) -> None:
        typed(self.client, Dashboard, body, f"dashboard {name}")

    def create(self, name: str, body: dict[str, Any]) -> str:
        request = typed(self.client, Dashboard, body, f"dashboard {name}")
        return str(_read(self.api.create_dashboard(request))["id"])

    def update(self, name: str, id: str, body: dict[str, Any]) -> None:
        self.api.update_dashboard(id, typed(self.client, Dashboard, body, f"dashboard {name}"))


class Entities:
    def __init__(self, client: ApiClient, known: Mapping[str, Any]) -> None:
        self.client, self.known = client, known
        self.api = SoftwareCatalogApi(client)

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        answer = _read(
            self.api.list_catalog_entity(
                filter_name=self.known["service"],
                filter_kind="service",
                include=IncludeType("raw_schema"),
            )
        )
        if not answer["data"]:
            return {}
        # What was sent, word for word.
        raw = next(one for one in answer["included"] if one["type"] == "raw_schema")
        body = yaml.safe_load(base64.b64decode(raw["attributes"]["rawSchema"]))
        name, wanted = "service", set(marks("entity", "service", self.known))
        if not wanted <= set(body.get("metadata", {}).get("tags") or []):
            raise Invalid(
                f"service:{self.known['service']} is in the software catalog, and not by us: "
                f"remove it there, or give it the tags {' '.join(sorted(wanted))}"
            )
        return {name: Held(str(answer["data"][0]["id"]), body)}

    def check(self, name: str, body: dict[str, Any]) -> None:
        typed(self.client, EntityV3Service, body, f"entity {name}")

    def create(self, name: str, body: dict[str, Any]) -> str:
        request = typed(self.client, EntityV3Service, body, f"entity {name}")
        return str(_read(self.api.upsert_catalog_entity(request))["data"][0]["id"])

    def update(self, name: str, id: str, body: dict[str, Any]) -> None:
        self.create(name, body)


class Percentiles:
    """Whether Datadog keeps percentiles of a distribution: a setting of the metric, so of all
    services that send it. Switched on where we ask for percentiles, and never off."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self.api = MetricsApi(client)

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        return {name: held for name in names if (held := self._held(name))}

    def _held(self, name: str) -> Held | None:
        try:
            answer = _read(self.api.list_tag_configuration_by_name(name))
        except NotFoundException:
            return None
        return Held(name, answer["data"]["attributes"])

    def check(self, name: str, body: dict[str, Any]) -> None:
        self._request(MetricTagConfigurationUpdateRequest, name, body)

    def create(self, name: str, body: dict[str, Any]) -> str:
        # Excluding no tags keeps all of them.
        all_tags = {"metric_type": "distribution", "tags": [], "exclude_tags_mode": True}
        request = self._request(MetricTagConfigurationCreateRequest, name, body | all_tags)
        try:
            self.api.create_tag_configuration(name, request)
        except NotFoundException:
            raise Later("Datadog has not seen this metric yet; apply again when it has") from None
        return name

    def update(self, name: str, id: str, body: dict[str, Any]) -> None:
        request = self._request(MetricTagConfigurationUpdateRequest, name, body)
        self.api.update_tag_configuration(name, request)

    def _request(self, model: type[Any], name: str, attributes: dict[str, Any]) -> Any:
        data = {"type": "manage_tags", "id": name, "attributes": attributes}
        return typed(self.client, model, {"data": data}, f"percentiles {name}")


def _read(answer: Any) -> Any:
    """Return the JSON of an answer that the client was told not to make a model of."""
    return json.loads(answer.data)


def _ours(
    kind: str,
    known: Mapping[str, Any],
    found: Iterable[dict[str, Any]],
    order: Callable[[dict[str, Any]], Any],
) -> dict[str, Held]:
    """Return those that carry our tags, by name. Of several the oldest: copies made by hand in
    Datadog have the tags of their original, and are their maker's business."""
    service, managed, prefix = marks(kind, "", known)
    ours: dict[str, Held] = {}
    for body in sorted(found, key=order, reverse=True):
        tags = body.get("tags") or []
        names = [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]
        if names and {service, managed} <= set(tags):
            ours[names[0]] = Held(str(body["id"]), body)
    return ours


def reason(error: ApiException) -> str:
    """Return what Datadog said in one line."""
    errors = error.body.get("errors", error.body) if isinstance(error.body, dict) else error.body
    said = errors if isinstance(errors, list) else [errors]
    texts = [str(one.get("detail") or one) if isinstance(one, dict) else str(one) for one in said]
    return " ".join(f"{error.status} {error.reason}: {'; '.join(texts)}".split())[:500]
