"""The manifests as the cluster gets them: every overlay, with and without each component."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from flask import Flask

from service.settings import Settings
from service.shadow.settings import ShadowSettings
from tools.deploy.manifests import render
from tools.deploy.service import ROOT, DeployError, Service

NAME = Service.read().name
CANDIDATE = f"{NAME}-candidate"
Json = dict[str, Any]

ENVIRONMENTS = ("staging", "production")
COMPONENTS = ("shadow", "datadog")
# What the Pod Security Standard "restricted" allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
VOLUMES |= {"projected", "secret"}
SETTINGS = re.compile(rf"{NAME}-settings-[a-z0-9]{{10}}")
# Read by libraries, not by the service itself.
OTHERS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


@dataclass(frozen=True)
class Rendered:
    env: str
    components: tuple[str, ...]
    items: tuple[Any, ...]

    def all(self, kind: str) -> list[Json]:
        return [item for item in self.items if item["kind"] == kind]

    def one(self, kind: str, name: str = NAME) -> Json:
        (found,) = [item for item in self.all(kind) if item["metadata"]["name"] == name]
        return dict(found)

    def settings(self) -> dict[str, str]:
        (found,) = [item for item in self.all("ConfigMap") if SETTINGS.match(name(item))]
        return dict(found["data"])


@cache
def kubectl() -> str:
    if not (found := shutil.which("kubectl")):
        if os.environ.get("CI"):
            pytest.fail("kubectl is missing")
        pytest.skip("needs kubectl")
    return found


@pytest.fixture(
    scope="module",
    params=[
        (env, components)
        for env in ENVIRONMENTS
        for count in range(len(COMPONENTS) + 1)
        for components in itertools.combinations(COMPONENTS, count)
    ],
    ids=lambda param: "+".join((param[0], *param[1])),
)
def rendered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rendered]:
    env, components = request.param
    k8s = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(ROOT / "k8s", k8s)
    file = k8s / "overlays" / env / "kustomization.yaml"
    text = file.read_text()
    for name in COMPONENTS:
        # One line, with or without its "# ".
        line = rf"^  (# )?- \.\./\.\./components/{name}$"
        wanted = f"  {'' if name in components else '# '}- ../../components/{name}"
        text, found = re.subn(line, wanted, text, flags=re.MULTILINE)
        assert found == 1
    if not components:
        text = text.replace("components:\n", "")
    file.write_text(text)
    done = subprocess.run(
        [kubectl(), "kustomize", file.parent], capture_output=True, text=True, check=True
    )
    assert "warning" not in done.stderr.lower()
    yield Rendered(env, components, tuple(yaml.safe_load_all(done.stdout)))


def name(item: Json) -> str:
    return str(item["metadata"]["name"])


def pod(deployment: Json) -> Json:
    return dict(deployment["spec"]["template"]["spec"])


def container(deployment: Json) -> Json:
    (found,) = pod(deployment)["containers"]
    return dict(found)


def env(deployment: Json) -> Json:
    return {item["name"]: item for item in container(deployment).get("env", [])}


def selected(rendered: Rendered, selector: Json) -> set[str]:
    """Return the names of the Deployments whose pods the selector matches."""
    return {
        item["metadata"]["name"]
        for item in rendered.all("Deployment")
        if selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
    }


def port_number(deployment: Json, port: Any) -> int:
    named = {item["name"]: item["containerPort"] for item in container(deployment)["ports"]}
    return int(named.get(port, port))


def test_deployments(rendered: Rendered) -> None:
    names = {NAME, CANDIDATE} if "shadow" in rendered.components else {NAME}
    assert {item["metadata"]["name"] for item in rendered.all("Deployment")} == names
    for item in rendered.items:
        assert item["metadata"]["namespace"] == f"models-{rendered.env}"


def test_nobody_but_live_answers_callers(rendered: Rendered) -> None:
    for item in rendered.all("Service"):
        assert selected(rendered, item["spec"]["selector"]) == {item["metadata"]["name"]}
    for item in rendered.all("Deployment"):
        match = item["spec"]["selector"]["matchLabels"]
        assert selected(rendered, match) == {item["metadata"]["name"]}


def test_autoscaler_and_budget_are_of_the_live_service(rendered: Rendered) -> None:
    target = rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    live = rendered.one(target["kind"], target["name"])
    assert target["apiVersion"] == live["apiVersion"]
    assert "replicas" not in live["spec"]
    scaled = {i["spec"]["scaleTargetRef"]["name"] for i in rendered.all("HorizontalPodAutoscaler")}
    for item in rendered.all("Deployment"):
        assert ("replicas" in item["spec"]) != (item["metadata"]["name"] in scaled)
    budget = rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert selected(rendered, budget) == {NAME}


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
    known = {item.name.upper() for kind in (Settings, ShadowSettings) for item in fields(kind)}
    data = rendered.settings()
    assert data.keys() <= known | OTHERS
    Settings.from_env(data)
    for item in rendered.all("Deployment"):
        for name in env(item):
            assert name in known or name.startswith("DD_"), name
        ShadowSettings.from_env({k: v["value"] for k, v in env(item).items() if "value" in v})
        (source,) = container(item)["envFrom"]
        # In the name is a hash of the content: a changed setting is a rollout.
        assert SETTINGS.fullmatch(source["configMapRef"]["name"])
        assert rendered.one("ConfigMap", source["configMapRef"]["name"])


def test_time_to_stop_adds_up(rendered: Rendered) -> None:
    settings = Settings.from_env(rendered.settings())
    longest = settings.request_timeout_ms / 1e3
    assert settings.drain_seconds >= 5
    assert settings.graceful_timeout_seconds >= longest + settings.keepalive_seconds
    for item in rendered.all("Deployment"):
        grace = pod(item)["terminationGracePeriodSeconds"]
        assert grace >= settings.drain_seconds + settings.graceful_timeout_seconds + 3
        # Out of the endpoints, by its probe, while it still serves.
        probe = container(item)["readinessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] <= settings.drain_seconds


def test_resources(rendered: Rendered) -> None:
    for item in rendered.all("Deployment"):
        resources = container(item)["resources"]
        assert resources["limits"] == {"memory": resources["requests"]["memory"]}
        assert resources["requests"]["cpu"]
        # Without a limit of CPU, workers and threads must not follow the node's.
        follows = env(item)["WEB_CONCURRENCY"]["valueFrom"]["resourceFieldRef"]["resource"]
        assert follows == "requests.cpu"
        assert OTHERS <= rendered.settings().keys()


def test_pod_security_is_restricted(rendered: Rendered) -> None:
    for item in rendered.all("Deployment"):
        spec, one = pod(item), container(item)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec["volumes"]:
            assert volume.keys() - {"name"} <= VOLUMES
        assert spec["automountServiceAccountToken"] is False
        account = rendered.one("ServiceAccount", spec["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False


def test_network(rendered: Rendered) -> None:
    policies = rendered.all("NetworkPolicy")
    for item in rendered.all("Deployment"):
        name = item["metadata"]["name"]
        mine = [
            policy["spec"]
            for policy in policies
            if name in selected(rendered, policy["spec"]["podSelector"]["matchLabels"])
        ]
        for direction in ("Ingress", "Egress"):
            assert any(direction in policy["policyTypes"] for policy in mine), (name, direction)
        ports = [
            p["port"] for policy in mine for i in policy.get("ingress", []) for p in i["ports"]
        ]
        assert [port_number(item, port) for port in ports] == [Settings().port]


def test_datadog(rendered: Rendered) -> None:
    for item in rendered.all("Deployment"):
        labels = item["spec"]["template"]["metadata"]["labels"]
        assert labels["tags.datadoghq.com/env"] == rendered.env
        assert labels["tags.datadoghq.com/service"] == item["metadata"]["name"]
        if "datadog" not in rendered.components:
            assert not any(name.startswith("DD_") for name in env(item))
            continue
        (mount,) = [m for m in container(item)["volumeMounts"] if m["name"] == "datadog"]
        for name in ("DD_TRACE_AGENT_URL", "DD_DOGSTATSD_URL"):
            url = urlsplit(env(item)[name]["value"])
            assert url.scheme == "unix" and str(Path(url.path).parent) == mount["mountPath"]


def test_ghost_mode(rendered: Rendered) -> None:
    live = rendered.one("Deployment")
    if "shadow" not in rendered.components:
        assert not any(name.startswith("SHADOW_") for name in env(live))
        return
    candidate = rendered.one("Deployment", CANDIDATE)
    url = urlsplit(env(live)["SHADOW_URL"]["value"])
    service = rendered.one("Service", url.hostname or "")
    assert service["metadata"]["name"] == CANDIDATE
    assert (url.port or 80) in [port["port"] for port in service["spec"]["ports"]]
    # A candidate that mirrored would mirror to itself.
    assert "SHADOW_URL" not in env(candidate).keys() | rendered.settings().keys()
    assert env(candidate)["SHADOW_ROLE"]["value"] == "candidate"
    # The switch is a file of a ConfigMap whose name does not change with what is in it.
    switch = Path(env(live)["SHADOW_SWITCH_FILE"]["value"])
    (mount,) = [m for m in container(live)["volumeMounts"] if m["mountPath"] == str(switch.parent)]
    (volume,) = [v for v in pod(live)["volumes"] if v["name"] == mount["name"]]
    assert rendered.one("ConfigMap", f"{NAME}-shadow")["data"][switch.name] == "100"
    assert volume["configMap"]["name"] == f"{NAME}-shadow"
    out = rendered.one("NetworkPolicy", f"{NAME}-copies")["spec"]
    assert selected(rendered, out["podSelector"]["matchLabels"]) == {NAME}
    (rule,) = out["egress"]
    assert [selected(rendered, to["podSelector"]["matchLabels"]) for to in rule["to"]] == [
        {CANDIDATE}
    ]
    into = rendered.one("NetworkPolicy", CANDIDATE)["spec"]
    (rule,) = into["ingress"]
    assert [selected(rendered, i["podSelector"]["matchLabels"]) for i in rule["from"]] == [{NAME}]


def test_candidate_is_as_the_live_service_but_for_its_name(rendered: Rendered) -> None:
    if "shadow" not in rendered.components:
        return
    live, candidate = (
        deepcopy(pod(rendered.one("Deployment", name))) for name in (NAME, CANDIDATE)
    )
    # One pod has nothing to be spread.
    del live["topologySpreadConstraints"]
    for spec in (live, candidate):
        (one,) = spec["containers"]
        one["env"] = [item for item in one["env"] if not item["name"].startswith("SHADOW_")]
        one["volumeMounts"] = [item for item in one["volumeMounts"] if item["name"] != "shadow"]
        spec["volumes"] = [item for item in spec["volumes"] if item["name"] != "shadow"]
        # Production's are measured for the live service's traffic.
        del one["resources"]
    assert candidate == live


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_deployed_image_and_version(name: str) -> None:
    kubectl()
    service = Service.read()
    items = list(yaml.safe_load_all(render(service, name, "0ed64d9e503e-1a2b3c4d")))
    live = Rendered(name, (), tuple(items)).one("Deployment")
    assert container(live)["image"] == f"{service.repository}:0ed64d9e503e-1a2b3c4d"
    for labels in (live["metadata"]["labels"], live["spec"]["template"]["metadata"]["labels"]):
        assert labels["tags.datadoghq.com/version"] == "0ed64d9e503e"
    assert "tags.datadoghq.com/version" not in live["spec"]["selector"]["matchLabels"]


def test_candidate_needs_ghost_mode_and_ghost_mode_a_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl()
    service = Service.read()
    with pytest.raises(DeployError, match="CANDIDATE=2-b: ghost mode is off"):
        render(service, "staging", "1-a", "2-b")
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    monkeypatch.setattr("tools.deploy.manifests.OVERLAYS", tmp_path / "k8s" / "overlays")
    file = tmp_path / "k8s/overlays/staging/kustomization.yaml"
    file.write_text(
        file.read_text().replace("# - ../../components/shadow", "- ../../components/shadow")
    )
    with pytest.raises(DeployError, match="ghost mode is on in staging: say with whom"):
        render(service, "staging", "1-a")
    found = Rendered(
        "staging", (), tuple(yaml.safe_load_all(render(service, "staging", "1-a", "2-b")))
    )
    assert container(found.one("Deployment"))["image"].endswith(":1-a")
    assert container(found.one("Deployment", CANDIDATE))["image"].endswith(":2-b")
