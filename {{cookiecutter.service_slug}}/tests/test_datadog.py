"""The files of `datadog/` agree with one another, with the promise, and with Datadog's schema."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from datadog_api_client import ApiClient, Configuration

from loadtests.slo import Slo
from tools.datadog.api import kinds
from tools.datadog.definitions import FOLDER, Definition, definitions, queries, values

CATALOGUE: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "metrics.yaml").read_text())
# The tags that Datadog's client and the Agent add.
UNIFIED = {"service", "env", "version"}
METRIC = re.compile(r"(?:(\w+):)?([a-z]\w*(?:\.\w+)+)\{(.*?)\}(?: by \{(.*?)\})?(\.as_\w+\(\))?")
CLUSTER = ("kubernetes.", "kubernetes_state.")


@pytest.fixture(scope="module")
def defined() -> list[Definition]:
    return definitions()


def test_datadog_would_understand_every_object(defined: list[Definition]) -> None:
    with ApiClient(Configuration()) as client:
        by_name = kinds(client, values())
        for one in defined:
            kind = by_name[one.kind]
            made = kind.made(kind.model, one.name, one.body)
            if one.kind == "dashboard":  # of which the client sends all that is written here
                assert made.to_dict() == one.body
    assert {one.kind for one in defined} >= by_name.keys() - {"webhook"}  # if drift has it called


def test_the_catalogue_says_the_same_of_every_metric() -> None:
    for name, metric in CATALOGUE.items():
        assert metric.keys() == {"kind", "unit", "tags", "about"}, name
        assert metric["kind"] in ("count", "gauge", "distribution"), name
        assert metric["about"] and not UNIFIED & set(metric["tags"]), name


def test_every_metric_and_tag_asked_for_is_in_the_catalogue(defined: list[Definition]) -> None:
    seen = set()
    for one in defined:
        for query in queries(one.body):
            where = f"{one.kind} {one.name}: {query}"
            found = METRIC.findall(query)
            assert found or one.kind == "entity" or query.startswith("burn_rate("), where
            for aggregate, name, scope, groups, counted in found:
                if name.startswith(CLUSTER):
                    continue
                assert name in CATALOGUE, where
                seen.add(name)
                metric = CATALOGUE[name]
                tags = {part.lstrip("!").split(":")[0].lstrip("$") for part in scope.split(",")}
                tags |= set(filter(None, groups.split(",")))
                assert tags <= UNIFIED | set(metric["tags"]), where
                if re.fullmatch(r"p\d+", aggregate):
                    assert metric["kind"] == "distribution", where
                if counted:
                    assert metric["kind"] == "count", where
    assert seen == set(CATALOGUE), "nobody looks at the rest"


def test_no_query_sees_other_services_or_environments(defined: list[Definition]) -> None:
    service, env = values()["service"], values()["env"]
    for one in defined:
        own = {"$env"} if one.kind == "dashboard" else {f"env:{env}"}
        for query in queries(one.body):
            for _, name, scope, _, _ in METRIC.findall(query):
                wanted = own | {f"service:{service}"}
                if one.kind == "dashboard" and not name.startswith("kubernetes_state."):
                    wanted |= {"$version"}
                assert wanted <= set(scope.split(",")), f"{one.kind} {one.name}: {query}"


def test_every_widget_says_what_to_read_from_it(defined: list[Definition]) -> None:
    (dashboard,) = (one.body for one in defined if one.kind == "dashboard")
    variables = {variable["name"] for variable in dashboard["template_variables"]}
    groups = [group["definition"] for group in dashboard["widgets"]]
    for widget in (one["definition"] for group in groups for one in group["widgets"]):
        assert len(widget["title"].split()) >= 5, widget["title"]
        for query in queries(widget):
            assert set(re.findall(r"\$(\w+)", query)) <= variables
        for request in widget.get("requests", []):
            named = {query["name"] for query in request["queries"]}
            for formula in request["formulas"]:
                words = set(re.findall(r"[a-z_]\w*", formula["formula"])) - {"default_zero"}
                assert words and words <= named, formula


def test_every_monitor_says_what_it_means_what_to_do_and_to_whom(
    defined: list[Definition],
) -> None:
    for one in (one for one in defined if one.kind == "monitor"):
        message, query = one.body["message"], one.body["query"]
        assert f"@team-{values()['team']}" in message
        assert "\n1. " in message and "\n2. " in message
        opened = re.findall(r"\{\{#(\w+)\}\}", message)
        assert opened and sorted(opened) == sorted(re.findall(r"\{\{/(\w+)\}\}", message))
        # Datadog refuses a threshold that is not the query's.
        assert float(query.split()[-1]) == one.body["options"]["thresholds"]["critical"]


def test_the_promise_is_that_of_the_load_tests(defined: list[Definition]) -> None:
    slo = Slo.read()
    objective = next(one.body for one in defined if one.kind == "slo")
    assert objective["thresholds"][0]["target"] == pytest.approx(100 * (1 - slo.error_ratio))
    p99 = next(one.body for one in defined if one.name == "p99")
    assert p99["options"]["thresholds"]["critical"] == pytest.approx(slo.p99_ms / 1000)


def test_percentiles_are_switched_on_for_what_they_are_asked_of(
    defined: list[Definition],
) -> None:
    switched = {one.name for one in defined if one.kind == "percentiles"}
    assert "inference.latency" in switched
    assert {CATALOGUE[name]["kind"] for name in switched} == {"distribution"}
