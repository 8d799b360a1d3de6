"""Sizing: the open loop measures honestly, the staircase finds the break, the advice adds up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from msgspec.structs import replace

from loadtests.slo import Slo
from service.artifact import Manifest, read_manifest
from tools.size import SizingError, patch, staircase, usage
from tools.size import __main__ as size
from tools.size import check as checking
from tools.size.advice import Sizing, advise
from tools.size.client import ANSWER, Clients, offer
from tools.size.measured import Step, doubts, judge
from tools.size.staircase import climb
from tools.size.stand import split_cores, stand

ROOT = Path.cwd()  # the service
# What `make size` wrote for a pod that does 1,000 requests/s; the planner's tests read it, too.
RECORD = Path(__file__).parents[1] / "sizing.json"
SIZING = Sizing.read(RECORD)
MEASURED = SIZING.measured
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


REQUEST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def test_the_load_is_offered_at_its_rate() -> None:
    with stub(lambda _: http("200 OK")) as server:
        answers = offer(server.port, [REQUEST], 200, 1.5, seed=1)
    assert 200 < len(answers["due"]) < 400
    assert len(answers["due"]) == server.asked
    assert (np.diff(answers["due"]) > 0).all()
    # Poisson arrivals: gaps vary as much as they last on average.
    gaps = np.diff(answers["due"])
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.25)
    assert (answers["status"] == 200).all()
    assert (answers["seconds"] >= answers["late"]).all()


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
    assert len(answers["due"]) == server.asked
    slow = answers["seconds"] > 0.1
    assert 0.2 < slow.mean() < 0.6
    assert answers["seconds"].max() > 0.4


def test_refusals_and_broken_connections_are_told_apart() -> None:
    kinds = [
        http("200 OK"),
        http("503 Service Unavailable"),
        http("200 OK", "Connection: close\r\n"),
        b"",
    ]
    with stub(lambda number: kinds[number % 4]) as server:
        answers = offer(server.port, [REQUEST], 100, 1.0, seed=3)
    shares = {code: float((answers["status"] == code).mean()) for code in (200, 503, 0)}
    assert shares[200] == pytest.approx(0.5, abs=0.1)
    assert shares[503] == pytest.approx(0.25, abs=0.1)
    assert shares[0] == pytest.approx(0.25, abs=0.1)
    assert np.isinf(answers["seconds"][answers["status"] == 0]).all()


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers = offer(port, [REQUEST], 100, 0.2, seed=4)
    assert len(answers["due"]) > 5
    assert (answers["status"] == 0).all()


def test_a_step_is_judged_by_what_was_due_after_its_start() -> None:
    due = np.arange(0, 11, 0.01)
    seconds = np.where(due < 1, 9.0, np.where(due < 10.8, 0.01, 0.05))
    status = np.where(np.arange(len(due)) % 100 == 99, 503, 200)
    answers = np.zeros(len(due), ANSWER)
    answers["due"], answers["seconds"], answers["status"] = due, seconds, status
    found = judge(answers, 11, cpus=0.5, others=0.01)
    assert found.offered == pytest.approx(100)
    assert found.errors == pytest.approx(0.01)
    assert found.p50_ms == pytest.approx(10)
    assert found.p99_ms == pytest.approx(50)
    assert not found.holds(SLO)
    assert replace(found, errors=0.001).holds(SLO)


def held(steps: list[Step]) -> float:
    return replace(MEASURED, steps=steps).held_rps


@pytest.mark.parametrize("true", [3.7, 42.0, 1234.0, 60_000.0])
def test_the_staircase_finds_where_the_promise_breaks(true: float) -> None:
    offered: list[float] = []

    def service(rate: float, seconds: float) -> Step:
        offered.append(rate)
        return step(rate, 300, 1 - true / rate) if rate > true else step(rate)

    steps = climb(service, SLO, say=lambda _: None)
    assert true / staircase.RESOLUTION <= held(steps) <= true
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

    assert held(climb(service, SLO, lambda _: None)) > 94


def test_a_probe_that_was_far_too_low_is_made_up_for() -> None:
    offered: list[float] = []

    def service(rate: float, seconds: float) -> Step:
        offered.append(rate)
        broken = rate > (20 if seconds == staircase.PROBE_SECONDS else 5000)
        return step(rate, 300) if broken else step(rate)

    found = held(climb(service, SLO, lambda _: None))
    assert 5000 / staircase.RESOLUTION <= found <= 5000
    assert len(offered) < 40


def test_capacity_ends_at_the_first_break() -> None:
    assert held([step(10), step(20, 300), step(30)]) == 10
    assert held([step(10, 300), step(20)]) == 0


def test_a_disturbed_measurement_says_so() -> None:
    assert doubts(MEASURED.steps, SLO) == []
    busy = [replace(step(100), others=0.2, late_ms=9), replace(step(200, 300), others=1)]
    assert "up to 20% of the service's cores" in doubts(busy, SLO)[0]
    assert "up to 9 ms late" in doubts(busy, SLO)[1]
    measured = replace(MEASURED, steps=busy)
    sizing = Sizing(measured=measured, advice=advise(measured, 10, 5))
    assert "# DOUBTFUL: others took up to 20%" in patch.text(sizing, "some-service")


def test_slow_models_get_time_for_a_p99() -> None:
    assert staircase.duration(1000, 10) == 10
    assert staircase.duration(50, 10) == 20
    assert staircase.duration(1, 10) == 60
    assert staircase.duration(1, 100) == 100


def test_between_the_steps_are_straight_lines() -> None:
    assert MEASURED.cpus_at(650) == pytest.approx(0.65)
    assert MEASURED.load_at(0.65) == pytest.approx(650)
    assert MEASURED.cpus_at(9999) == 1
    assert replace(MEASURED, steps=[step(100), step(200, cpus=0.05)]).cpus_at(200) == 0.1  # noise


def test_the_advice_adds_up() -> None:
    advice = advise(MEASURED, peak_rps=5000, average_rps=2000)
    assert advice == SIZING.advice  # which the planner takes for granted
    assert MEASURED.held_rps == 1000
    assert advice.capacity_rps == pytest.approx(900)
    # 45 s until the autoscaler has acted, 12 s until the pod is ready: 19 % of growth.
    assert advice.reaction_seconds == pytest.approx(57)
    assert advice.target == int(100 * 0.9 / 1.1 / (1 + 0.2 * 57 / 60)) == 68
    assert advice.target_rps == pytest.approx(680)
    assert advice.minimum == 4  # 2000 / 900, and one more
    assert advice.peak_pods == 8  # 5000 / 680
    assert advice.maximum == 12  # twice 5000 / 900
    assert advice.memory_mib == 192  # 187.5, in steps of 16


def test_pods_on_target_that_grow_while_nothing_happens_stay_within_capacity() -> None:
    for start in (1.0, 20.0, 60.0):
        measured = replace(MEASURED, start_seconds=start)
        advice = advise(measured, 5000, 2000)
        worst = advice.target_rps * 1.1 * (1 + 0.2 * advice.reaction_seconds / 60)
        assert worst <= advice.capacity_rps * 1.001


def test_small_services_have_three_pods() -> None:
    advice = advise(MEASURED, 5, 1)
    assert (advice.minimum, advice.peak_pods, advice.maximum) == (3, 3, 3)


def test_a_model_that_batches_is_bounded_by_the_maximum() -> None:
    # Half the CPU is used at a tenth of the capacity already.
    batching = [step(100, cpus=0.5), step(600, cpus=0.9), step(1000, cpus=0.95), step(1100, 300)]
    advice = advise(replace(MEASURED, steps=batching), 5000, 2000)
    assert advice.target == 80
    assert advice.target_rps == pytest.approx(475)
    assert advice.peak_pods == 11  # 5000 / 475
    assert advice.maximum == 12


def test_full_pods_make_the_autoscaler_act() -> None:
    # Full at 60 % of the CPU: something else than the CPU is short.
    waiting = [step(100, cpus=0.06), step(1000, cpus=0.6), step(1100, 300, cpus=0.6)]
    advice = advise(replace(MEASURED, steps=waiting), 5000, 2000)
    assert advice.target * 1.1 < 100 * 0.6


def test_a_promise_that_never_holds_is_said() -> None:
    with pytest.raises(SizingError, match="broken already at 100 requests/s: p99 300 ms"):
        advise(replace(MEASURED, steps=[step(100, 300)]), 10, 5)


def test_the_patch_says_what_was_advised() -> None:
    text = patch.text(SIZING, "some-service")
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
    text = patch.text(SIZING, tomllib.loads((ROOT / "service.toml").read_text())["name"])
    deployment, scaler = yaml.safe_load_all(text)
    for file, patched in (("deployment", deployment), ("hpa", scaler)):
        base = yaml.safe_load((ROOT / "k8s" / "base" / f"{file}.yaml").read_text())
        assert [base[key] for key in ("apiVersion", "kind")] == [
            patched[key] for key in ("apiVersion", "kind")
        ]
        assert base["metadata"]["name"] == patched["metadata"]["name"]
        if patched is deployment:
            (part,) = patched["spec"]["template"]["spec"]["containers"]
            (container,) = base["spec"]["template"]["spec"]["containers"]
            assert container["name"] == part["name"]
            # The patch would leave it as it is.
            assert "cpu" not in container["resources"]["limits"]


def test_all_is_written_and_a_bad_record_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(size, "ROOT", tmp_path)
    monkeypatch.setattr(size, "FOLDER", tmp_path)
    monkeypatch.setattr(size, "RECORD", tmp_path / "sizing.json")
    with pytest.raises(SizingError, match="nothing is measured yet"):
        Sizing.read(tmp_path / "sizing.json")
    (tmp_path / "service.toml").write_text('name = "some-service"')
    size.write(SIZING)
    said = capsys.readouterr().out
    assert "held up to 1,000/s" in said
    assert "4 to 12" in said
    assert (tmp_path / "sizing.json").read_bytes() == RECORD.read_bytes()
    assert (tmp_path / "sizing.yaml").read_text() == patch.text(SIZING, "some-service")
    assert (tmp_path / "sizing.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "sizing.json").write_text('{"measured": 1}')
    with pytest.raises(SizingError, match="make size again"):
        Sizing.read(tmp_path / "sizing.json")


@pytest.mark.parametrize(
    ("limit", "good", "said"),
    [
        (1.12, True, "holds, 10% to spare"),
        (1.01, True, "holds, 0% to spare"),
        (2.0, False, "holds, 30% to spare or more"),
        (0.88, False, "BROKEN, 15% is lacking"),
        (0.1, False, "BROKEN, 35% is lacking or more"),
    ],
)
def test_the_check_says_what_is_to_spare(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: float,
    good: bool,
    said: str,
) -> None:
    class Service:
        memory_bytes = 180 * 1024 * 1024

        def step(self, rate: float, seconds: float) -> Step:
            return step(rate, 300 if rate > limit * SIZING.advice.capacity_rps else 50)

    @contextmanager
    def stand(cpus: float, artifact: Manifest) -> Iterator[Service]:
        yield Service()

    monkeypatch.setattr(checking, "stand", stand)
    assert checking.check(SIZING, read_manifest(ROOT / "artifact"), SLO) == good
    found = capsys.readouterr().out
    assert said in found
    assert "another artifact was measured: 0123456789ab" in found
    assert "holds, 180 of 192 MiB" in found


def test_cores_that_cannot_be_set_apart_are_said() -> None:
    with pytest.raises(SizingError, match="needs 1000 cores"):
        split_cores(1000)
    for cpus in (0.5, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SizingError, match="only whole cores"):
            split_cores(cpus)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what traffic is expected"),
        (["--peak-rps=none", "--average-rps=1"], "PEAK_RPS=none: expected a number"),
        (["--peak-rps=100", "--average-rps=200"], "AVERAGE_RPS over 0 and no higher"),
        (["--peak-rps=-1", "--average-rps=-2"], "say what traffic is expected"),
        (["--peak-rps=nan", "--average-rps=1"], "PEAK_RPS=nan: expected a number"),
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


def test_usage_is_of_the_session() -> None:
    code = """
import os, sys
child = os.fork()
data = b"x" * 60_000_000
for _ in range(3_000_000): pass
print("ready", flush=True)
sys.stdin.read()
if child: os.wait()
"""
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        process.stdout.readline()
        tree = usage.processes(process.pid)
        memory, cpu = usage.memory_bytes(process.pid), usage.cpu_seconds(process.pid)
        process.stdin.close()
    assert len(tree) == 2
    assert 120_000_000 < memory < 160_000_000
    assert cpu > 0.05
    assert usage.cpu_seconds(process.pid) == 0  # it has ended


def test_the_service_itself_under_a_small_load() -> None:
    artifact = read_manifest(ROOT / "artifact")
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs a second core")
    with stand(1.0, artifact) as service:
        found = service.step(50, 2.0)
    assert 0.1 < service.start_seconds < 60
    assert found.errors == 0
    assert found.p99_ms < 1000
    assert 0 < found.cpus <= 1.05
    assert service.memory_bytes > 30 * 1024 * 1024
    assert os.sched_getaffinity(0) == before


def test_clients_share_the_load() -> None:
    cores = sorted(os.sched_getaffinity(0))
    with stub(lambda _: http("200 OK")) as server:
        clients = Clients(server.port, [REQUEST], (cores * 2)[:2])
        try:
            parts = clients.offer(200, 1.0)
            answers = np.concatenate([part.result() for part in parts])
        finally:
            clients.close()
    assert 120 < len(answers["due"]) < 290
    assert len(answers["due"]) == server.asked
