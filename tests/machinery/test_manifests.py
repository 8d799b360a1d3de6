"""The manifests as they are generated, with and without a candidate and Datadog's Agent.

What an owner's edits may break is in the service's own test_manifests.py.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from service.ab.settings import AbSettings
from service.errors import Refusal
from service.settings import Settings
from tests.rendered import (
    ENVIRONMENTS,
    Rendered,
    container,
    env,
    needs_kubectl,
    pod,
    port_number,
    render,
)
from tools.deploy.service import CANDIDATE, NAME, ROOT

DATADOG = "  - ../../components/datadog\n"
# What the Pod Security Standard "restricted" allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
VOLUMES |= {"projected", "secret"}


@pytest.fixture(scope="module", params=(True, False), ids=("datadog", "without datadog"))
def datadog(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(
    scope="module",
    params=itertools.product(ENVIRONMENTS, (False, True)),
    ids=lambda param: param[0] + ("+candidate" if param[1] else ""),
)
def rendered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, datadog: bool
) -> Rendered:
    env, with_candidate = request.param
    folder = tmp_path_factory.mktemp("manifests")
    return render(folder, env, with_candidate, without="" if datadog else DATADOG)


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
            if name in rendered.selected(policy["spec"]["podSelector"]["matchLabels"])
        ]
        for direction in ("Ingress", "Egress"):
            assert any(direction in policy["policyTypes"] for policy in mine), (name, direction)
        ports = [
            p["port"] for policy in mine for i in policy.get("ingress", []) for p in i["ports"]
        ]
        assert [port_number(item, port) for port in ports] == [Settings().port]


def test_datadog(rendered: Rendered, datadog: bool) -> None:
    for item in rendered.all("Deployment"):
        labels = item["spec"]["template"]["metadata"]["labels"]
        assert labels["tags.datadoghq.com/env"] == rendered.env
        assert labels["tags.datadoghq.com/service"] == item["metadata"]["name"]
        if not datadog:
            assert not any(name.startswith("DD_") for name in env(item))
            continue
        (mount,) = [m for m in container(item)["volumeMounts"] if m["name"] == "datadog"]
        for name in ("DD_TRACE_AGENT_URL", "DD_DOGSTATSD_URL"):
            url = urlsplit(env(item)[name]["value"])
            assert url.scheme == "unix" and str(Path(url.path).parent) == mount["mountPath"]


def test_shadow_traffic(rendered: Rendered) -> None:
    live = rendered.one("Deployment")
    if not rendered.with_candidate:
        assert not any(name.startswith("SHADOW_") for name in env(live))
        return
    candidate = rendered.one("Deployment", CANDIDATE)
    url = urlsplit(env(live)["SHADOW_URL"]["value"])
    service = rendered.one("Service", url.hostname or "")
    assert service["metadata"]["name"] == CANDIDATE
    assert (url.port or 80) in [port["port"] for port in service["spec"]["ports"]]
    # A candidate that sent copies would send them to itself.
    assert "SHADOW_URL" not in env(candidate).keys() | rendered.settings().keys()
    assert env(candidate)["SHADOW_ROLE"]["value"] == "candidate"
    # The switch is a file of a ConfigMap whose name does not change with what is in it.
    switch = Path(env(live)["SHADOW_SWITCH_FILE"]["value"])
    (mount,) = [m for m in container(live)["volumeMounts"] if m["mountPath"] == str(switch.parent)]
    (volume,) = [v for v in pod(live)["volumes"] if v["name"] == mount["name"]]
    assert rendered.one("ConfigMap", f"{NAME}-shadow")["data"][switch.name] == "100"
    assert volume["configMap"]["name"] == f"{NAME}-shadow"
    out = rendered.one("NetworkPolicy", f"{NAME}-copies")["spec"]
    assert rendered.selected(out["podSelector"]["matchLabels"]) == {NAME}
    (rule,) = out["egress"]
    assert [rendered.selected(to["podSelector"]["matchLabels"]) for to in rule["to"]] == [
        {CANDIDATE}
    ]
    into = rendered.one("NetworkPolicy", CANDIDATE)["spec"]
    (rule,) = into["ingress"]
    assert [rendered.selected(i["podSelector"]["matchLabels"]) for i in rule["from"]] == [{NAME}]


@pytest.mark.parametrize("with_candidate", [True, False], ids=["candidate", "none"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_share_of_the_users(environment: str, with_candidate: bool, tmp_path: Path) -> None:
    rendered = render(tmp_path, environment, with_candidate, component="ab")
    live = rendered.one("Deployment")
    given = {name: item["value"] for name, item in env(live).items() if "value" in item}
    with pytest.raises(Refusal, match="AB_PERCENT=5 needs AB_KEY_HEADER"):
        AbSettings.from_env(rendered.settings() | given)
    assert AbSettings.from_env(given | {"AB_KEY_HEADER": "X-Customer-Id"}).ab_percent == 5
    # By the way of shadow traffic, if there is a candidate; and the candidate hands nobody on.
    assert ("SHADOW_URL" in given) == with_candidate
    for item in rendered.all("Deployment"):
        found = {name for name in env(item) if name.startswith("AB_")}
        assert found == ({"AB_PERCENT", "AB_SWITCH_FILE"} if item == live else set())
    # After a release without a candidate, what `make deploy` removes is not what live mounts.
    switch = Path(given["AB_SWITCH_FILE"])
    (mount,) = [m for m in container(live)["volumeMounts"] if m["mountPath"] == str(switch.parent)]
    (volume,) = [v for v in pod(live)["volumes"] if v["name"] == mount["name"]]
    config = rendered.one("ConfigMap", volume["configMap"]["name"])
    assert config["data"][switch.name] == "5"
    assert config["metadata"].get("labels", {}).get("app") != CANDIDATE


def test_candidate_is_as_the_live_service_but_for_its_name(rendered: Rendered) -> None:
    if not rendered.with_candidate:
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
        # Theirs are in the release.
        del one["image"]
    assert candidate == live


def test_all_that_a_candidate_brings_has_its_label(rendered: Rendered) -> None:
    """By which `make deploy` removes it after the candidate."""
    brought = [item["metadata"] for item in rendered.items if item["metadata"]["name"] != NAME]
    names = {item["name"] for item in brought if item.get("labels", {}).get("app") == CANDIDATE}
    others = {item["name"] for item in brought} - names
    assert len(names) == (3 if rendered.with_candidate else 0)  # -candidate, -copies, -shadow
    assert [name.removeprefix(NAME)[:10] for name in others] == ["-settings-"]


@pytest.mark.parametrize(
    ("folder", "after"),
    [
        ("overlays/staging", "  - ../../components/datadog\n"),
        ("overlays/production", "  - ../../components/datadog\n"),
        ("training", "  - ../components/train\n"),
    ],
)
def test_images_are_pulled_by_a_secret_that_is_only_named(
    folder: str, after: str, tmp_path: Path
) -> None:
    needs_kubectl()
    path = Path(shutil.copytree(ROOT / "k8s", tmp_path / "k8s")) / folder
    file = path / "kustomization.yaml"
    component = f"  - {'../' * (folder.count('/') + 1)}components/registry\n"
    file.write_text(file.read_text().replace(after, after + component))
    done = subprocess.run(["kubectl", "kustomize", path], capture_output=True, check=True)
    found = list(yaml.safe_load_all(done.stdout))
    [secret] = [item for item in found if item["kind"] == "ExternalSecret"]
    assert secret["spec"]["target"] == {"template": {"type": "kubernetes.io/dockerconfigjson"}}
    accounts = [item for item in found if item["kind"] == "ServiceAccount"]
    assert accounts
    for account in accounts:
        assert account["imagePullSecrets"] == [{"name": secret["metadata"]["name"]}]
