"""Sizing: the open loop measures honestly, the staircase finds the break, the advice adds up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from loadtests.slo import Slo
from service.artifact import read_manifest
from tools.size import __main__ as size
from tools.size import manifest, picture, serving, staircase, usage
from tools.size.advice import Measured, Sizing, advise
from tools.size.client import Answers, Clients, offer, post
from tools.size.curve import Curve
from tools.size.errors import SizingError
from tools.size.staircase import Step, capacity, climb, judge

ROOT = Path.cwd()  # the service
SLO = Slo(p99_ms=100, error_ratio=0.001, requests_per_user=0, steps=[])


def step(rate: float, p99_ms: float = 5.0, errors: float = 0.0, cpus: float | None = None) -> Step:
    return Step(
        offered=rate,
        answered=rate * (1 - errors),
        errors=errors,
        p50_ms=p99_ms / 3,
        p99_ms=p99_ms,
        cpus=rate / 1000 if cpus is None else cpus,
        others=0.0,
        late_ms=0.1,
    )


MEASURED = Measured(
    version="0123456789ab",
    when="2026-11-20T14:00:00+00:00",
    how="pinned processes (no image)",
    machine="a machine",
    cpus=1.0,
    p99_ms=100,
    error_ratio=0.001,
    start_seconds=4.0,
    memory_bytes=150 * 1024 * 1024,
    steps=[step(100), step(500), step(800, 20), step(1000, 60), step(1100, 250, 0.1, cpus=1.0)],
)
SIZING = Sizing(measured=MEASURED, advice=advise(MEASURED, peak_rps=5000, average_rps=2000))


class Stub:
    """Answers each request with what `answer` returns; closes the connection for b""."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self._answer, self.asked = answer, 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                self.asked += 1
                answer = self._answer(self.asked)
                if not answer:
                    return
                for part in (answer[:10], answer[10:]):  # in pieces, as a network may
                    connection.sendall(part)


@contextmanager
def stub(answer: Callable[[int], bytes]) -> Iterator[Stub]:
    server = Stub(answer)
    try:
        yield server
    finally:
        server.socket.close()


def http(status: str, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: 2\r\n\r\nok".encode()


REQUEST = post("/predict", b"{}")


def test_the_load_is_offered_at_its_rate() -> None:
    with stub(lambda _: http("200 OK")) as server:
        answers = offer(server.port, [REQUEST], 200, 1.5, seed=1)
    assert 200 < len(answers.due) < 400
    assert len(answers.due) == server.asked
    assert (np.diff(answers.due) > 0).all()
    # Poisson arrivals: gaps vary as much as they last on average.
    gaps = np.diff(answers.due)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.25)
    assert (answers.status == 200).all()
    assert (answers.seconds >= answers.late).all()


def test_a_stall_is_paid_by_all_who_came_meanwhile() -> None:
    begin = time.perf_counter()

    def stalls(number: int) -> bytes:
        since = time.perf_counter() - begin
        if 0.3 < since < 0.8:
            time.sleep(0.8 - since)
        return http("200 OK")

    with stub(stalls) as server:
        answers = offer(server.port, [REQUEST], 200, 1.2, seed=2)
    # All requests were sent on time, though none was answered for half a second.
    assert len(answers.due) == server.asked
    slow = answers.seconds > 0.1
    assert 0.2 < slow.mean() < 0.6
    assert answers.seconds.max() > 0.4


def test_refusals_and_broken_connections_are_told_apart() -> None:
    kinds = [
        http("200 OK"),
        http("503 Service Unavailable"),
        http("200 OK", "Connection: close\r\n"),
        b"",
    ]
    with stub(lambda number: kinds[number % 4]) as server:
        answers = offer(server.port, [REQUEST], 100, 1.0, seed=3)
    shares = {code: float((answers.status == code).mean()) for code in (200, 503, 0)}
    assert shares[200] == pytest.approx(0.5, abs=0.1)
    assert shares[503] == pytest.approx(0.25, abs=0.1)
    assert shares[0] == pytest.approx(0.25, abs=0.1)
    assert np.isinf(answers.seconds[answers.status == 0]).all()


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers = offer(port, [REQUEST], 100, 0.2, seed=4)
    assert len(answers.due) > 5
    assert (answers.status == 0).all()


def test_a_step_is_judged_by_what_was_due_after_its_start() -> None:
    due = np.arange(0, 11, 0.01)
    seconds = np.where(due < 1, 9.0, np.where(due < 10.8, 0.01, 0.05))
    status = np.where(np.arange(len(due)) % 100 == 99, 503, 200)
    found = judge(Answers(due, seconds, due * 0, status), 11, cpus=0.5, others=0.01)
    assert found.offered == pytest.approx(100)
    assert found.errors == pytest.approx(0.01)
    assert found.p50_ms == pytest.approx(10)
    assert found.p99_ms == pytest.approx(50)
    assert not found.holds(SLO)
    assert replace_step(found, errors=0.001).holds(SLO)


def replace_step(found: Step, **changes: float) -> Step:
    return Step(**{name: getattr(found, name) for name in found.__struct_fields__} | changes)


@pytest.mark.parametrize("true", [3.7, 42.0, 1234.0, 60_000.0])
def test_the_staircase_finds_where_the_promise_breaks(true: float) -> None:
    offered: list[float] = []

    def service(rate: float, seconds: float) -> Step:
        offered.append(rate)
        return step(rate, 300, 1 - true / rate) if rate > true else step(rate)

    steps = climb(service, SLO, seconds=10, say=lambda _: None)
    assert true / staircase.RESOLUTION <= capacity(steps, SLO) <= true
    assert [s.offered for s in steps] == sorted(s.offered for s in steps)
    assert len(offered) < 40
    # Beyond the break it is looked at, too.
    assert steps[-1].offered > 1.4 * true


def test_one_miss_may_be_the_machines() -> None:
    missed: set[float] = set()

    def service(rate: float, seconds: float) -> Step:
        if seconds > staircase.PROBE_SECONDS and rate not in missed:
            missed.add(rate)  # everything fails at first
            return step(rate, 500)
        return step(rate, 300) if rate > 100 else step(rate)

    assert capacity(climb(service, SLO, 10, lambda _: None), SLO) > 94


def test_a_probe_that_was_far_too_low_is_made_up_for() -> None:
    offered: list[float] = []

    def service(rate: float, seconds: float) -> Step:
        offered.append(rate)
        broken = rate > (20 if seconds == staircase.PROBE_SECONDS else 5000)
        return step(rate, 300) if broken else step(rate)

    found = capacity(climb(service, SLO, 10, lambda _: None), SLO)
    assert 5000 / staircase.RESOLUTION <= found <= 5000
    assert len(offered) < 40


def test_capacity_ends_at_the_first_break() -> None:
    assert capacity([step(10), step(20, 300), step(30)], SLO) == 10
    assert capacity([step(10, 300), step(20)], SLO) == 0


def test_a_disturbed_measurement_says_so() -> None:
    assert staircase.doubts(MEASURED.steps, SLO) == []
    busy = [replace_step(step(100), others=0.2, late_ms=9), replace_step(step(200, 300), others=1)]
    assert "up to 20% of the service's cores" in staircase.doubts(busy, SLO)[0]
    assert "up to 9 ms late" in staircase.doubts(busy, SLO)[1]
    measured = changed(steps=busy)
    sizing = Sizing(measured=measured, advice=advise(measured, 10, 5))
    assert "# DOUBTFUL: others took up to 20%" in manifest.text(sizing, "some-service")


def test_slow_models_get_time_for_a_p99() -> None:
    assert staircase.duration(1000, 10) == 10
    assert staircase.duration(50, 10) == 20
    assert staircase.duration(1, 10) == 60
    assert staircase.duration(1, 100) == 100


def test_the_curve_is_what_was_measured_and_its_inverse() -> None:
    curve = Curve.of(MEASURED.steps)
    assert curve.cpus_at(650) == pytest.approx(0.65)
    assert curve.load_at(0.65) == pytest.approx(650)
    assert curve.answered_at(1100) == pytest.approx(990)
    assert curve.answered_at(9999) == pytest.approx(990)
    assert curve.p99_at(900) == pytest.approx(40)
    assert curve.p99_at(0) == pytest.approx(5)


def test_the_advice_adds_up() -> None:
    advice = SIZING.advice
    assert advice.held_rps == 1000
    assert advice.capacity_rps == pytest.approx(900)
    # 45 s until the autoscaler has acted, 12 s until the pod is ready: 19 % of growth.
    assert advice.reaction_seconds == pytest.approx(57)
    assert advice.target == int(100 * 0.9 / 1.1 / (1 + 0.2 * 57 / 60)) == 68
    assert advice.target_rps == pytest.approx(680)
    assert advice.minimum == 4  # 2000 / 900, and one more
    assert advice.peak_pods == 8  # 5000 / 680
    assert advice.maximum == 12  # twice 5000 / 900
    assert advice.memory_mib == 192  # 187.5, in steps of 16
    assert advice.cpu_millicores == 1000


def test_pods_on_target_that_grow_while_nothing_happens_stay_within_capacity() -> None:
    for start in (1.0, 20.0, 60.0):
        measured = changed(start_seconds=start)
        advice = advise(measured, 5000, 2000)
        worst = advice.target_rps * 1.1 * (1 + 0.2 * advice.reaction_seconds / 60)
        assert worst <= advice.capacity_rps * 1.001


def test_small_services_have_three_pods() -> None:
    advice = advise(MEASURED, 5, 1)
    assert (advice.minimum, advice.peak_pods, advice.maximum) == (3, 3, 3)


def test_a_model_that_batches_is_bounded_by_the_maximum() -> None:
    # Half the CPU is used at a tenth of the capacity already.
    batching = [step(100, cpus=0.5), step(600, cpus=0.9), step(1000, cpus=0.95), step(1100, 300)]
    advice = advise(changed(steps=batching), 5000, 2000)
    assert advice.target == 80
    assert advice.target_rps == pytest.approx(475)
    assert advice.peak_pods == 11  # 5000 / 475
    assert advice.maximum == 12


def test_full_pods_make_the_autoscaler_act() -> None:
    # Full at 60 % of the CPU: something else than the CPU is short.
    waiting = [step(100, cpus=0.06), step(1000, cpus=0.6), step(1100, 300, cpus=0.6)]
    advice = advise(changed(steps=waiting), 5000, 2000)
    assert advice.target * 1.1 < 100 * advice.capacity_cpus


@pytest.mark.parametrize(("peak", "average"), [(100, 200), (0, 0), (-1, -2)])
def test_traffic_that_cannot_be_is_refused(peak: float, average: float) -> None:
    with pytest.raises(SizingError, match="average <= peak"):
        advise(MEASURED, peak, average)


def test_a_promise_that_never_holds_is_said() -> None:
    with pytest.raises(SizingError, match="missed already at 100 requests/s: p99 300 ms"):
        advise(changed(steps=[step(100, 300)]), 10, 5)


def changed(**changes: object) -> Measured:
    fields = {name: getattr(MEASURED, name) for name in MEASURED.__struct_fields__}
    return Measured(**fields | changes)


def test_the_patch_says_what_was_advised() -> None:
    text = manifest.text(SIZING, "some-service")
    deployment, scaler = yaml.safe_load_all(text)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["metadata"]["name"] == container["name"] == "some-service"
    assert container["resources"]["requests"] == {"cpu": "1000m", "memory": "192Mi"}
    assert container["resources"]["limits"] == {"memory": "192Mi"}
    spec = scaler["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (4, 12)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 68
    assert "Held up to 1,000 requests/s" in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_patch_fits_the_manifests() -> None:
    text = manifest.text(SIZING, serving.service_name())
    deployment, scaler = yaml.safe_load_all(text)
    for file, patch in (("deployment", deployment), ("hpa", scaler)):
        base = yaml.safe_load((ROOT / "k8s" / "base" / f"{file}.yaml").read_text())
        assert [base[key] for key in ("apiVersion", "kind")] == [
            patch[key] for key in ("apiVersion", "kind")
        ]
        assert base["metadata"]["name"] == patch["metadata"]["name"]
        if patch is deployment:
            (patched,) = patch["spec"]["template"]["spec"]["containers"]
            (container,) = base["spec"]["template"]["spec"]["containers"]
            assert container["name"] == patched["name"]
            # The patch would leave it as it is.
            assert "cpu" not in container["resources"]["limits"]


def test_the_record_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "sizing.json"
    SIZING.write(file)
    assert Sizing.read(file) == SIZING
    file.write_text('{"measured": 1}')
    with pytest.raises(SizingError, match="make size again"):
        Sizing.read(file)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    picture.draw(tmp_path / "sizing.png", SIZING, "some-service")
    assert (tmp_path / "sizing.png").read_bytes().startswith(b"\x89PNG")


def engine(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_an_image_is_found_where_an_engine_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(serving.find(None), serving.Processes)
    engine(tmp_path, "podman", "exit 0")  # knows no image
    assert "(podman: no image " in str(serving.find(None))
    with pytest.raises(SizingError, match="no image x:1 in podman"):
        serving.find("x:1")
    engine(tmp_path, "podman", "exit 125")  # does not run
    engine(tmp_path, "docker", "echo registry/name:2; echo registry/name:1")
    assert serving.find(None) == serving.Container("docker", "registry/name:2")


@pytest.mark.parametrize(
    ("limit", "status", "said"),
    [
        (1.12, 0, "holds, 10% to spare"),
        (1.01, 0, "holds, 0% to spare"),
        (2.0, 1, "holds, 30% to spare or more"),
        (0.88, 1, "BROKEN, 15% is lacking"),
        (0.1, 1, "BROKEN, 35% is lacking or more"),
    ],
)
def test_the_check_says_what_is_to_spare(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: float,
    status: int,
    said: str,
) -> None:
    class Service:
        bytes = 180 * 1024 * 1024

        def step(self, rate: float, seconds: float) -> Step:
            return step(rate, 300 if rate > limit * SIZING.advice.capacity_rps else 50)

    @contextmanager
    def stand(*_: object) -> Iterator[tuple[Service, float, Service]]:
        yield Service(), 1.0, Service()

    SIZING.write(tmp_path / "sizing.json")
    monkeypatch.setattr(manifest, "RECORD", tmp_path / "sizing.json")
    monkeypatch.setattr(serving, "shape", lambda cpus: serving.Shape(cpus, [0], [1]))
    monkeypatch.setattr(serving, "find", lambda image: serving.Processes("a test"))
    monkeypatch.setattr(size, "stand", stand)
    assert size.check(None) == status
    assert said in capsys.readouterr().out


def test_too_few_cores_are_said() -> None:
    with pytest.raises(SizingError, match="needs 1000 cores"):
        serving.shape(1000)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what traffic is expected"),
        (["--peak-rps=none", "--average-rps=1"], "'none': expected a number over 0"),
        (["--peak-rps=10", "--average-rps=1", "--cpus=0"], "'0': expected a number over 0"),
        (["--peak-rps=10", "--average-rps=1", "--seconds=1"], "expected at least 2"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["size", *words])
    with pytest.raises(SystemExit) as exit:
        size.main()
    assert exit.value.code == 2
    assert said in capsys.readouterr().err


def test_usage_is_of_the_tree() -> None:
    work = "d = b'x' * 60_000_000; i = 0\nwhile i < 3_000_000: i += 1\nprint(); input()"
    command = [sys.executable, "-c", f"import os; os.fork(); {work}".replace("; d", "\nd")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        process.stdout.readline()
        tree = usage.process_tree(process.pid)
        memory, cpu = usage.memory_bytes(process.pid), usage.cpu_seconds(process.pid)
        process.stdin.write("\n\n")
        process.stdin.close()
    assert len(tree) == 2
    assert 120_000_000 < memory < 160_000_000
    assert cpu > 0.05
    assert usage.cpu_seconds(process.pid) == 0  # it has ended


def test_the_service_itself_under_a_small_load() -> None:
    artifact = read_manifest(ROOT / "artifact")
    try:
        given = serving.shape(1)
    except SizingError as reason:
        pytest.skip(str(reason))
    with size.stand(serving.Processes("a test"), given, artifact) as (stand, started, memory):
        found = stand.step(50, 2.0)
    assert 0.1 < started < 60
    assert found.errors == 0
    assert found.p99_ms < 1000
    assert 0 < found.cpus <= 1.05
    assert memory.bytes > 30 * 1024 * 1024
    assert os.sched_getaffinity(0) >= set(given.cores)


def test_clients_share_the_load() -> None:
    cores = sorted(os.sched_getaffinity(0))
    with stub(lambda _: http("200 OK")) as server:
        clients = Clients(server.port, [REQUEST], (cores * 2)[:2])
        try:
            answers = clients.offer(200, 1.0)
        finally:
            clients.close()
    assert 120 < len(answers.due) < 290
    assert len(answers.due) == server.asked
