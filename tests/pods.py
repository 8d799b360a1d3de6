"""A service's rendered manifests as pods of podman, behind HAProxy, rolled out as Kubernetes would.

podman has no API server: here a few lines start, await and stop pods as the Deployment's strategy
says, and HAProxy is the Service: it asks each pod's readiness, and nothing else, whom to send to.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml
from harness import SERVICE_VENV, free_port, make
from images import Container, podman

Json = dict[str, Any]


def release(folder: Path, env: str, tag: str, candidate: str = "") -> list[Json]:
    """Release to an environment of a service; return what `make deploy` would apply then."""
    done = make(folder, "release", f"ENV={env}", f"TAG={tag}", f"CANDIDATE={candidate}")
    assert done.returncode == 0, done.stdout + done.stderr
    command = ["kubectl", "kustomize", str(folder / "k8s" / "overlays" / env)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def without_datadog(folder: Path, env: str) -> None:
    """Take Datadog's component out of an overlay, by its one line."""
    file = folder / "k8s" / "overlays" / env / "kustomization.yaml"
    line = "  - ../../components/datadog\n"
    assert line in file.read_text()
    file.write_text(file.read_text().replace(line, ""))


class Pod(Container):
    """One pod of a Deployment, published on a port of this machine."""

    def __init__(
        self, items: list[Json], deployment: str, port: int, sockets: Path, **settings: str
    ) -> None:
        """`settings`: other values for some of the ConfigMap and the container's environment."""
        (found,) = [
            item
            for item in items
            if item["kind"] == "Deployment" and item["metadata"]["name"] == deployment
        ]
        found = json.loads(json.dumps(found))
        self.pod = f"{deployment}-{port}-pod-0"
        found["metadata"]["name"] = self.pod.removesuffix("-pod-0")
        spec = found["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        container["imagePullPolicy"] = "Never"
        container["ports"][0]["hostPort"] = port
        for variable in container["env"]:
            if variable["name"] in settings:
                variable["value"] = settings[variable["name"]]
        for mount in container["volumeMounts"]:
            mount["name"] = f"{port}-{mount['name']}"  # podman's volumes are of all pods
        # A CSI driver needs a cluster; what it mounts is a folder of the node.
        for volume in spec["volumes"]:
            volume["name"] = f"{port}-{volume['name']}"
            if "configMap" in volume:
                volume["configMap"]["name"] = f"{port}-{volume['configMap']['name']}"
            if volume.pop("csi", None):
                volume["hostPath"] = {"path": str(sockets), "type": "Directory"}
        maps = [json.loads(json.dumps(item)) for item in items if item["kind"] == "ConfigMap"]
        (source,) = container["envFrom"]
        source["configMapRef"]["name"] = f"{port}-{source['configMapRef']['name']}"
        for item in maps:
            item["metadata"]["name"] = f"{port}-{item['metadata']['name']}"
            item["data"] |= {key: settings[key] for key in item["data"].keys() & settings.keys()}
        self._volumes = [volume["name"] for volume in spec["volumes"]]
        self._volumes += [item["metadata"]["name"] for item in maps]
        file = sockets / f"{self.pod}.yaml"
        file.write_text(yaml.safe_dump_all([*maps, found]))
        super().__init__(f"{self.pod}-{container['name']}", port)
        self.spec = spec
        self.grace = int(spec["terminationGracePeriodSeconds"])
        try:
            podman("play", "kube", file)
        except AssertionError:
            self.remove()
            raise

    def stop(self) -> None:
        """As the kubelet: SIGTERM, and after the grace period SIGKILL; then the pod's network.

        `podman pod stop` takes the network away first, and whoever waits for an answer with it.
        """
        podman("stop", "--time", str(self.grace), self.name)
        self.remove()

    def remove(self) -> None:
        """Without a word, as a node that goes away takes its pods along."""
        podman("pod", "rm", "--force", "--time", "0", self.pod, check=False)
        # In which podman has put what is no volume of this machine's.
        podman("volume", "rm", "--force", *self._volumes, check=False)


class Balancer:
    """HAProxy, before as many places for pods as there may be."""

    def __init__(self, folder: Path, places: int) -> None:
        self.port, self._stats = free_port(), free_port()
        self.places = [free_port() for _ in range(places)]
        servers = "".join(f"  server s{p} 127.0.0.1:{p}\n" for p in self.places)
        self._file = folder / "haproxy.cfg"
        # A connection that could not be made may be made to another pod; that is safe, and counted.
        self._file.write_text(f"""\
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  retries 2
  option redispatch 1
frontend callers
  bind 127.0.0.1:{self.port}
  default_backend pods
backend pods
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 200ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down
{servers}
frontend stats
  bind 127.0.0.1:{self._stats}
  stats enable
  stats uri /
""")

    @contextmanager
    def running(self) -> Iterator[None]:
        process = subprocess.Popen(["haproxy", "-f", self._file], stderr=subprocess.DEVNULL)
        try:
            # Until it has looked, it takes every place for a pod.
            until(lambda: all(self._state(port) == "DOWN" for port in self.places), 10)
            yield
        finally:
            process.kill()
            process.wait()

    def up(self, port: int) -> bool:
        return self._state(port) == "UP"

    def counts(self) -> dict[str, int]:
        """Requests and 2xx answers at the front, and tries that did not reach a pod."""
        rows = {(row["# pxname"], row["svname"]): row for row in self._rows()}
        front, back = rows["callers", "FRONTEND"], rows["pods", "BACKEND"]
        return {
            "requests": int(front["req_tot"]),
            "answered": int(front["hrsp_2xx"]),
            "retries": int(back["wretr"]) + int(back["wredis"]),
        }

    def _state(self, port: int) -> str:
        try:
            return next(r["status"] for r in self._rows() if r["svname"] == f"s{port}").split()[0]
        except requests.ConnectionError:
            return "not yet"

    def _rows(self) -> list[dict[str, str]]:
        text = requests.get(f"http://127.0.0.1:{self._stats}/;csv", timeout=5).text
        return list(csv.DictReader(text.splitlines()))


class Deployment:
    """Pods of one image after another: no fewer than `replicas` are ready at any time."""

    def __init__(
        self, balancer: Balancer, folder: Path, replicas: int, start: Callable[[str, int], Pod]
    ) -> None:
        self.balancer, self.replicas, self.start = balancer, replicas, start
        self.folder = folder
        self.pods: list[Pod] = []
        self._stopping: list[tuple[threading.Thread, Pod]] = []

    def add(self, image: str) -> None:
        """Start a pod where there is a place, and wait until callers may come to it."""
        taken = {pod.port for pod in self.pods} | {pod.port for _, pod in self._stopping}
        until(lambda: bool(self._free(taken)), 60)
        pod = self.start(image, self._free(taken)[0])
        self.pods.append(pod)
        until(lambda: self.balancer.up(pod.port), 90, pod)

    def _free(self, taken: set[int]) -> list[int]:
        for thread, pod in self._stopping:
            if not thread.is_alive():
                taken.discard(pod.port)
        return [port for port in self.balancer.places if port not in taken]

    def roll(self, image: str) -> None:
        """Replace every pod: maxSurge 1, maxUnavailable 0."""
        for old in self.pods[:]:
            self.add(image)
            self.pods.remove(old)
            thread = threading.Thread(target=old.stop)
            thread.start()
            self._stopping.append((thread, old))

    def settle(self) -> None:
        for thread, _ in self._stopping:
            thread.join()
        self._stopping.clear()

    def remove(self) -> None:
        self.settle()
        for pod in self.pods:
            pod.remove()


class Load:
    """Locust with the service's own users, until told to stop; then what it has counted."""

    def __init__(self, folder: Path, url: str, users: int) -> None:
        command = [str(SERVICE_VENV / "bin" / "locust"), "--headless", "--json", "--host", url]
        command += ["--users", str(users), "--spawn-rate", str(users), "--stop-timeout", "30"]
        command += ["-f", "loadtests/locustfile.py", "--exit-code-on-error", "0"]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> tuple[int, int]:
        """Return how many requests were answered or failed, and how many failed."""
        self._process.send_signal(signal.SIGTERM)
        out, error = self._process.communicate(timeout=60)
        start = out.index("[")
        rows, _ = json.JSONDecoder().raw_decode(out[start:])
        print(error[error.find("Error report") :])
        return sum(r["num_requests"] for r in rows), sum(r["num_failures"] for r in rows)


def until(true: Callable[[], bool], seconds: float, pod: Pod | None = None) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, pod.logged if pod else "waited in vain"
        time.sleep(0.1)
