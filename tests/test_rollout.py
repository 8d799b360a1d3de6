"""The manifests run for real: pods that predict, and rollouts that lose nobody's request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from harness import copied, edit, free_port, manifest, train
from images import image, needed, podman
from pods import Balancer, Deployment, Load, Pod, release, until, without_datadog

NAME = "tumour-classifier"
# To the new version and back, while callers call. `ROLLOUTS=10` is the long form.
ROLLOUTS = int(os.environ.get("ROLLOUTS", "1"))
USERS = 8
# A cluster's ten seconds are for many nodes to notice; this balancer looks five times a second.
DRAIN = {"DRAIN_SECONDS": "2"}


@pytest.fixture(scope="module")
def old(baked: Path) -> str:
    needed("kubectl", "haproxy")
    return image(baked)


@pytest.fixture(scope="module")
def new(baked: Path, old: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of another model."""
    folder = copied(baked, tmp_path_factory.mktemp("new"))
    source = folder / "model.py"
    source.write_text(source.read_text().replace("SEED = 0", "SEED = 1"))
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return image(folder)


def tag(name: str) -> str:
    return name.rpartition(":")[2]


def version(name: str) -> str:
    return tag(name).split("-")[0]


def predict(url: str, folder: Path) -> requests.Response:
    body = {"instances": manifest(folder)["golden"]["instances"][:2]}
    return requests.post(f"{url}/predict", json=body, timeout=30)


@contextmanager
def playing(pod: Pod) -> Iterator[Pod]:
    try:
        pod.wait_ready()
        yield pod
    finally:
        pod.remove()


def test_production_runs_as_it_is_rendered(baked: Path, old: str, tmp_path: Path) -> None:
    items = release(copied(baked, tmp_path), "production", tag(old))
    with playing(Pod(items, NAME, free_port(), tmp_path)) as pod:
        answer = predict(pod.url, baked)
        assert answer.status_code == 200 and len(answer.json()["predictions"]) == 2
        assert answer.headers["X-Model-Version"] == version(old)
        (container,) = pod.spec["containers"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = container[kind]["httpGet"]["path"]
            assert requests.get(pod.url + path, timeout=container[kind]["timeoutSeconds"]).ok
        found = json.loads(pod.python("import json, os; print(json.dumps(dict(os.environ)))"))
        # The CPU requested, rounded up: one worker.
        assert found["WEB_CONCURRENCY"] == "1" and len(pod.workers) == 1
        assert (found["DD_ENV"], found["DD_SERVICE"]) == ("production", NAME)
        assert pod.python("import os; print(os.getuid())").strip() == "10001"
        for folder, writable in (("/app", False), ("/artifact", False), ("/tmp", True)):
            code = f"import os; print(os.access({folder!r}, os.W_OK))"
            assert pod.python(code).strip() == str(writable), folder
        started = time.monotonic()
        pod.stop()
        assert time.monotonic() - started < pod.grace


def test_copies_reach_the_candidate(baked: Path, old: str, new: str, tmp_path: Path) -> None:
    folder = copied(baked, tmp_path)
    without_datadog(folder, "production")
    items = release(folder, "production", tag(old), tag(new))
    (tmp_path / "pods").mkdir()
    with ExitStack() as stack:
        candidate = Pod(items, f"{NAME}-candidate", free_port(), tmp_path / "pods")
        stack.enter_context(playing(candidate))
        # podman has no Services: the candidate's pod instead of its name.
        url = f"http://{candidate.pod}:8000"
        live = Pod(items, NAME, free_port(), tmp_path / "pods", SHADOW_URL=url)
        stack.enter_context(playing(live))
        for _ in range(20):
            assert predict(live.url, baked).headers["X-Model-Version"] == version(old)
        until(lambda: len(pairs(live)) >= 20, 20, live)
        for pair in pairs(live):
            assert pair["candidate"]["status"] == 200
            assert pair["candidate"]["version"] == version(new)
            assert pair["live"]["version"] == version(old)
        assert pairs(candidate) == []


def pairs(pod: Pod) -> list[dict[str, dict[str, object]]]:
    lines = [line for line in pod.logged.splitlines() if '"shadow.pair"' in line]
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def deployment(
    baked: Path, old: str, new: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Two pods of the old version, behind a balancer."""
    folder = copied(baked, tmp_path_factory.mktemp("rollout"))
    # Without an agent its client would take seconds to give up, at each of many stops.
    without_datadog(folder, "production")
    (pods := folder / "pods").mkdir()
    items = {name: release(folder, "production", tag(name)) for name in (old, new)}

    def start(name: str, port: int) -> Pod:
        return Pod(items[name], NAME, port, pods, **DRAIN)

    balancer = Balancer(pods, places=5)
    with balancer.running():
        found = Deployment(balancer, folder, 2, start)
        try:
            for _ in range(found.replicas):
                found.add(old)
            yield found
        finally:
            found.remove()


def versions(deployment: Deployment) -> set[str]:
    url = f"http://127.0.0.1:{deployment.balancer.port}"
    return {
        predict(url, deployment.folder).headers["X-Model-Version"]
        for _ in range(2 * deployment.replicas)
    }


def test_rollout_and_rollback_lose_nothing(deployment: Deployment, old: str, new: str) -> None:
    url = f"http://127.0.0.1:{deployment.balancer.port}"
    assert versions(deployment) == {version(old)}
    before = deployment.balancer.counts()
    load = Load(deployment.folder, url, USERS)
    until(lambda: deployment.balancer.counts()["requests"] > before["requests"] + USERS, 30)
    mine = 0
    for name in [new, old] * ROLLOUTS:
        deployment.roll(name)
        deployment.settle()
        assert versions(deployment) == {version(name)}
        mine += 2 * deployment.replicas
    sent, failed = load.stop()
    after = deployment.balancer.counts()
    print(f"{2 * ROLLOUTS} rollouts under load: {sent} requests, {failed} failed")
    assert failed == 0
    assert sent > 100
    assert after["answered"] - before["answered"] == sent + mine
    assert after["requests"] - before["requests"] == sent + mine
    # Nor was any saved by being tried again.
    assert after["retries"] == before["retries"]


def test_from_shadow_to_a_share_to_all_and_back_loses_nothing(
    baked: Path, old: str, new: str, tmp_path: Path
) -> None:
    """Shadow traffic, 5 % and 50 % of the users, a candidate that dies, promotion, rollback."""
    folder = copied(baked, tmp_path)
    without_datadog(folder, "production")
    edit(
        folder / "k8s/base/settings.env",
        "# AB_KEY_HEADER=X-Customer-Id",
        "AB_KEY_HEADER=X-Customer",
    )
    # Users who are told apart: as many as there are percent, and more.
    users = 'headers={"X-Customer": str(random.randrange(400))}, name=name'
    edit(folder / "loadtests/locustfile.py", "name=name", users)
    (pods := folder / "pods").mkdir()
    items = {"shadow": release(folder, "production", tag(old), tag(new))}
    component = "../../components/ab"
    edit(
        folder / "k8s/overlays/production/kustomization.yaml", f"# - {component}", f"- {component}"
    )
    for percent in ("5", "50"):
        items[percent] = release(folder, "production", tag(old), tag(new))
        [switch] = [i for i in items[percent] if i["metadata"]["name"] == f"{NAME}-ab"]
        switch["data"]["percent"] = percent
    for name in (old, new):
        items[name] = release(folder, "production", tag(name))
    balancer = Balancer(pods, places=5)
    with ExitStack() as stack:
        candidate = Pod(items["shadow"], f"{NAME}-candidate", free_port(), pods)
        stack.enter_context(playing(candidate))
        url = f"http://{candidate.pod}:8000"
        stack.enter_context(balancer.running())
        found = Deployment(
            balancer,
            folder,
            2,
            lambda stage, port: Pod(items[stage], NAME, port, pods, SHADOW_URL=url, **DRAIN),
        )
        stack.callback(found.remove)
        for _ in range(found.replicas):
            found.add("shadow")
        before = balancer.counts()
        load = Load(folder, f"http://127.0.0.1:{balancer.port}", USERS)
        assert of_candidate(found, new) == set()
        found.roll("5")
        found.settle()
        few = of_candidate(found, new)
        found.roll("50")
        found.settle()
        many = of_candidate(found, new)
        assert few < many and len(few) < 40 and 140 < len(many) < 260
        candidate.remove()  # at once, with requests in hand
        assert of_candidate(found, new) == set()
        for name in (new, old):
            found.roll(name)
            found.settle()
            assert len(of_candidate(found, name)) == KEYS
        sent, failed = load.stop()
        after = balancer.counts()
    print(f"from shadow traffic to all users and back: {sent} requests, {failed} failed")
    assert failed == 0 and sent > 100
    assert after["answered"] - before["answered"] == sent + 6 * KEYS
    assert after["requests"] - before["requests"] == sent + 6 * KEYS
    assert after["retries"] == before["retries"]


KEYS = 400


def of_candidate(deployment: Deployment, image: str) -> set[str]:
    """Return which of the users are answered by the version of an image."""
    url = f"http://127.0.0.1:{deployment.balancer.port}"
    with requests.Session() as session:
        body = {"instances": manifest(deployment.folder)["golden"]["instances"][:2]}
        found = set()
        for key in map(str, range(KEYS)):
            answer = session.post(
                f"{url}/predict", json=body, headers={"X-Customer": key}, timeout=30
            )
            assert answer.status_code == 200
            if answer.headers["X-Model-Version"] == version(image):
                found.add(key)
    return found


def test_what_is_killed_loses_only_what_it_had_in_hand(deployment: Deployment, old: str) -> None:
    url = f"http://127.0.0.1:{deployment.balancer.port}"
    before = deployment.balancer.counts()
    load = Load(deployment.folder, url, USERS)
    until(lambda: deployment.balancer.counts()["requests"] > before["requests"] + USERS, 30)
    kills = 0
    for pod in deployment.pods:
        for worker in pod.workers:
            os.kill(worker, 9)
            kills += 1
        time.sleep(1)
        until(lambda pod=pod: deployment.balancer.up(pod.port), 30, pod)  # type: ignore[misc]
    # A node that is lost takes a pod along; another is made.
    lost = deployment.pods.pop(0)
    podman("pod", "kill", lost.pod)
    kills += 1
    lost.remove()
    deployment.add(old)
    time.sleep(1)
    sent, failed = load.stop()
    after = deployment.balancer.counts()
    print(f"{kills} kills under load: {sent} requests, {failed} failed")
    assert failed <= kills * USERS
    assert after["requests"] - before["requests"] == sent
    assert after["answered"] - before["answered"] == sent - failed
    # And all is well again.
    assert versions(deployment) == {version(old)}
