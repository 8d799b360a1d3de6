"""The kinds of object in Datadog that a service has, through its own client."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml
from datadog_api_client import ApiClient
from datadog_api_client.exceptions import NotFoundException
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v1.api.webhooks_integration_api import WebhooksIntegrationApi
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest
from datadog_api_client.v1.model.service_level_objective import ServiceLevelObjective
from datadog_api_client.v1.model.service_level_objective_request import (
    ServiceLevelObjectiveRequest,
)
from datadog_api_client.v1.model.webhooks_integration import WebhooksIntegration
from datadog_api_client.v1.model.webhooks_integration_update_request import (
    WebhooksIntegrationUpdateRequest,
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
from tools.datadog.kind import Held, Json, Kind, Later, read

DASHBOARDS_A_PAGE = 100


class Objectives(Kind):
    kind, api_class, model = "slo", ServiceLevelObjectivesApi, ServiceLevelObjectiveRequest

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        found = read(self.api.list_slos(tags_query=f"service:{self.known['service']}"))["data"]
        return self.ours(found, order=lambda slo: slo.get("created_at", 0))

    def create(self, name: str, body: Json) -> str:
        made = self.made(self.model, name, body)
        return str(read(self.api.create_slo(made))["data"][0]["id"])

    def update(self, name: str, id: str, body: Json) -> None:
        self.api.update_slo(id, self.made(ServiceLevelObjective, name, body))


class Monitors(Kind):
    kind, api_class, model = "monitor", MonitorsApi, Monitor

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        found = read(self.api.list_monitors(monitor_tags=f"service:{self.known['service']}"))
        return self.ours(found, order=lambda monitor: monitor["id"])

    def create(self, name: str, body: Json) -> str:
        return str(read(self.api.create_monitor(self.made(self.model, name, body)))["id"])

    def update(self, name: str, id: str, body: Json) -> None:
        self.api.update_monitor(int(id), self.made(MonitorUpdateRequest, name, body))


class Dashboards(Kind):
    kind, api_class, model = "dashboard", DashboardsApi, Dashboard

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        # Datadog lists dashboards without tags, so ours are in the description.
        summaries = [
            summary | {"tags": (summary.get("description") or "").split()}
            for summary in self._summaries()
        ]
        ours = self.ours(summaries, order=lambda summary: summary["created_at"])
        return {
            name: Held(one.id, read(self.api.get_dashboard(one.id))) for name, one in ours.items()
        }

    def _summaries(self) -> Iterator[Json]:
        start, count = 0, DASHBOARDS_A_PAGE
        while page := read(self.api.list_dashboards(start=start, count=count))["dashboards"]:
            yield from page
            start += len(page)

    def create(self, name: str, body: Json) -> str:
        return str(read(self.api.create_dashboard(self.made(self.model, name, body)))["id"])

    def update(self, name: str, id: str, body: Json) -> None:
        self.api.update_dashboard(id, self.made(self.model, name, body))


class Entities(Kind):
    kind, api_class, model = "entity", SoftwareCatalogApi, EntityV3Service

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        service = self.known["service"]
        answer = read(
            self.api.list_catalog_entity(
                filter_name=service, filter_kind="service", include=IncludeType("raw_schema")
            )
        )
        if not answer["data"]:
            return {}
        # The entity as it was sent, word for word.
        raw = next(one for one in answer["included"] if one["type"] == "raw_schema")
        body = yaml.safe_load(base64.b64decode(raw["attributes"]["rawSchema"]))
        wanted = set(marks(self.kind, "service", self.known))
        if not wanted <= set(body.get("metadata", {}).get("tags") or []):
            raise Invalid(
                f"service:{service} is in the software catalog, and not by us: "
                f"remove it there, or give it the tags {' '.join(sorted(wanted))}"
            )
        return {"service": Held(str(answer["data"][0]["id"]), body)}

    def create(self, name: str, body: Json) -> str:
        made = self.made(self.model, name, body)
        return str(read(self.api.upsert_catalog_entity(made))["data"][0]["id"])

    def update(self, name: str, id: str, body: Json) -> None:
        self.create(name, body)


class Percentiles(Kind):
    """Whether Datadog keeps percentiles of a distribution.

    That is a setting of the metric, so of all services that send it: it is switched on where a
    query asks for a percentile, and never off.
    """

    kind, api_class, model = "percentiles", MetricsApi, MetricTagConfigurationUpdateRequest

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        return {name: held for name in names if (held := self._held(name))}

    def _held(self, name: str) -> Held | None:
        try:
            answer = read(self.api.list_tag_configuration_by_name(name))
        except NotFoundException:
            return None
        return Held(name, answer["data"]["attributes"])

    def made(self, model: type[Any], name: str, body: Json) -> Any:
        data = {"type": "manage_tags", "id": name, "attributes": body}
        return super().made(model, name, {"data": data})

    def create(self, name: str, body: Json) -> str:
        # Excluding no tags keeps all of them.
        all_tags = {"metric_type": "distribution", "tags": [], "exclude_tags_mode": True}
        made = self.made(MetricTagConfigurationCreateRequest, name, body | all_tags)
        try:
            self.api.create_tag_configuration(name, made)
        except NotFoundException:
            raise Later("Datadog has not seen this metric yet; apply again when it has") from None
        return name

    def update(self, name: str, id: str, body: Json) -> None:
        self.api.update_tag_configuration(name, self.made(self.model, name, body))


class Webhooks(Kind):
    """The webhook that starts a training; it has no tags, and is ours by its name."""

    kind, api_class, model = "webhook", WebhooksIntegrationApi, WebhooksIntegration

    def held(self, names: Iterable[str]) -> dict[str, Held]:
        there: dict[str, Held] = {}
        for name in names:
            with suppress(NotFoundException):
                there[name] = Held(name, read(self.api.get_webhooks_integration(name)))
        return there

    def create(self, name: str, body: Json) -> str:
        self.api.create_webhooks_integration(self.made(self.model, name, body))
        return name

    def update(self, name: str, id: str, body: Json) -> None:
        made = self.made(WebhooksIntegrationUpdateRequest, name, body)
        self.api.update_webhooks_integration(name, made)


# In the order in which they can be created: monitors and dashboard need the objective's id.
KINDS: tuple[type[Kind], ...] = (
    Objectives,
    Webhooks,
    Monitors,
    Dashboards,
    Entities,
    Percentiles,
)


def kinds(client: ApiClient, known: Mapping[str, Any]) -> dict[str, Kind]:
    """Return the kinds of object by name; `known` says which service is asked for."""
    return {kind.kind: kind(client, known) for kind in KINDS}
