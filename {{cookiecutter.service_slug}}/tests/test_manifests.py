"""The manifests of every environment, with and without a candidate, after your edits of them."""

from __future__ import annotations

import itertools
import re

import pytest
from flask import Flask

from service.ab.settings import AbSettings
from service.lifecycle import LAST_CALL_SECONDS
from service.settings import Settings
from service.shadow.settings import ShadowSettings
from tests.rendered import (
    CANDIDATE_TAG,
    ENVIRONMENTS,
    TAG,
    Rendered,
    container,
    env,
    pod,
    port_number,
    render,
)
from tools.deploy.service import CANDIDATE, NAME, REPOSITORY

# Read by numerical libraries, not by the service itself.
OTHERS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


@pytest.fixture(
    scope="module",
    params=itertools.product(ENVIRONMENTS, (False, True)),
    ids=lambda param: param[0] + ("+candidate" if param[1] else ""),
)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    env, with_candidate = request.param
    return render(tmp_path_factory.mktemp("manifests"), env, with_candidate)


def test_deployments_run_what_is_released(rendered: Rendered) -> None:
    tags = {NAME: TAG} | ({CANDIDATE: CANDIDATE_TAG} if rendered.with_candidate else {})
    assert {item["metadata"]["name"] for item in rendered.all("Deployment")} == tags.keys()
    for name, tag in tags.items():
        item = rendered.one("Deployment", name)
        assert container(item)["image"] == f"{REPOSITORY}:{tag}"
        for labels in (item["metadata"]["labels"], item["spec"]["template"]["metadata"]["labels"]):
            assert labels["tags.datadoghq.com/version"] == tag.split("-")[0]
        # A Deployment's selector cannot be changed by the next release.
        assert "tags.datadoghq.com/version" not in item["spec"]["selector"]["matchLabels"]


def test_all_is_in_one_namespace(rendered: Rendered) -> None:
    assert len({item["metadata"]["namespace"] for item in rendered.items}) == 1


def test_nobody_but_live_answers_callers(rendered: Rendered) -> None:
    for item in rendered.all("Service"):
        assert rendered.selected(item["spec"]["selector"]) == {item["metadata"]["name"]}
    for item in rendered.all("Deployment"):
        match = item["spec"]["selector"]["matchLabels"]
        assert rendered.selected(match) == {item["metadata"]["name"]}


def test_autoscaler_and_budget_are_of_the_live_service(rendered: Rendered) -> None:
    target = rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    live = rendered.one(target["kind"], target["name"])
    assert target["apiVersion"] == live["apiVersion"]
    # A number of replicas would reset what the autoscaler has chosen, at every deploy.
    scaled = {i["spec"]["scaleTargetRef"]["name"] for i in rendered.all("HorizontalPodAutoscaler")}
    assert NAME in scaled
    for item in rendered.all("Deployment"):
        assert ("replicas" in item["spec"]) != (item["metadata"]["name"] in scaled)
    budget = rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert rendered.selected(budget) == {NAME}


def test_ports_and_probes_lead_somewhere(rendered: Rendered, app: Flask) -> None:
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    for item in rendered.all("Deployment"):
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container(item)[kind]["httpGet"]
            assert probe["path"] in routes
            assert port_number(item, probe["port"]) == Settings().port
        assert container(item)["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for service in rendered.all("Service"):
        item = rendered.one("Deployment", service["metadata"]["name"])
        for port in service["spec"]["ports"]:
            assert port_number(item, port["targetPort"]) == Settings().port


def test_settings_are_known_and_parse(rendered: Rendered) -> None:
    kinds = (Settings, ShadowSettings, AbSettings)
    known = {name.upper() for kind in kinds for name in kind.__annotations__}
    assert rendered.settings().keys() <= known | OTHERS
    Settings.from_env(rendered.settings())
    for item in rendered.all("Deployment"):
        for name in env(item):
            assert name in known or name.startswith("DD_"), name
        given = {k: v["value"] for k, v in env(item).items() if "value" in v}
        ShadowSettings.from_env(given)
        AbSettings.from_env(rendered.settings() | given)
        (source,) = container(item)["envFrom"]
        # In the name is a hash of the content: a changed setting is a rollout.
        name = source["configMapRef"]["name"]
        assert re.fullmatch(rf"{NAME}-settings-[a-z0-9]{{10}}", name)
        assert rendered.one("ConfigMap", name)["data"] == rendered.settings()


def test_time_to_stop_adds_up(rendered: Rendered) -> None:
    settings = Settings.from_env(rendered.settings())
    longest = settings.request_timeout_ms / 1e3
    assert settings.drain_seconds >= 5
    assert settings.graceful_timeout_seconds >= longest + LAST_CALL_SECONDS
    for item in rendered.all("Deployment"):
        grace = pod(item)["terminationGracePeriodSeconds"]
        assert grace >= settings.drain_seconds + settings.graceful_timeout_seconds + 3
        # Out of the endpoints, by its probe, while it still serves.
        probe = container(item)["readinessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] <= settings.drain_seconds


def test_resources(rendered: Rendered) -> None:
    assert OTHERS <= rendered.settings().keys()
    for item in rendered.all("Deployment"):
        resources = container(item)["resources"]
        assert resources["limits"] == {"memory": resources["requests"]["memory"]}
        assert resources["requests"]["cpu"]
        # Without a limit of CPU, workers and threads must not follow the node's.
        follows = env(item)["WEB_CONCURRENCY"]["valueFrom"]["resourceFieldRef"]["resource"]
        assert follows == "requests.cpu"
