"""The simulated autoscaler against what Kubernetes' documentation says of the real one."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtests.planner import PlanError, traffic
from loadtests.planner import __main__ as planner
from loadtests.planner.hpa import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Autoscaler,
    Controller,
    Pods,
    Policy,
    Rules,
    recommend,
)
from loadtests.planner.inputs import read_behavior, read_sizing
from loadtests.planner.pod import Array, Curve, Pod
from loadtests.planner.simulate import simulate, spans

# What the machinery's test_size.py holds to be the advice of `make size` for its own measurement.
RECORD = Path(__file__).with_name("sizing.json")

HALF = Autoscaler(1, 1000, target=50)
# Does 100 requests/s for one CPU, in 10 ms; beyond that it refuses.
POD = Pod(
    curve=Curve(
        offered=np.array([0.0, 100.0, 200.0]),
        answered=np.array([0.0, 100.0, 100.0]),
        p99_ms=np.array([10.0, 10.0, 50.0]),
        cpus=np.array([0.0, 1.0, 1.0]),
    ),
    cpu_request=1.0,
    running_seconds=5,
    ready_seconds=20,
)


@pytest.mark.parametrize(
    ("target", "current", "utilization", "wanted"),
    [
        (50, 3, 1.0, 6),  # twice the target doubles
        (50, 4, 0.25, 2),  # half of it halves
        (75, 50, 0.90, 60),  # 50 x 90 / 75
        (50, 10, 0.54, 10),  # within a tenth of the target nothing is done
        (50, 10, 0.55, 10),
        (50, 10, 0.56, 12),
        (50, 10, 0.46, 10),
        (50, 10, 0.44, 9),
        (80, 1, 3.0, 4),  # 3.75, and always up
        (50, 1, 3.05, 7),  # the documentation's walkthrough
    ],
)
def test_the_formula(target: int, current: int, utilization: float, wanted: int) -> None:
    scaler = replace(HALF, target=target)
    assert recommend(scaler, current, Pods(current, utilization)) == wanted


@pytest.mark.parametrize(
    ("current", "pods", "wanted"),
    [
        # Nobody has a metric yet: no action.
        (3, Pods(0, 0.0, missing=3), 3),
        # Up: who is not ready is taken to use nothing. 4 x 100 % over 6 pods is 66 %.
        (6, Pods(4, 1.0, unready=2), 8),
        # The same with as many not ready as ready is just the target: wait for them.
        (8, Pods(4, 1.0, unready=4), 8),
        # More not ready would even mean less pods: the direction is not reversed.
        (12, Pods(4, 1.0, unready=8), 12),
        # Up: who has no metric is taken to use nothing either.
        (6, Pods(4, 1.0, missing=2), 8),
        (8, Pods(4, 1.0, missing=4), 8),
        # Down: who has no metric is taken to be on target. (4 x 20 + 2 x 50) / 6 is 30 %.
        (6, Pods(4, 0.2, missing=2), 4),
        # Down: who is not ready does not count.
        (6, Pods(4, 0.2, unready=2), 2),
    ],
)
def test_pods_without_a_say_dampen(current: int, pods: Pods, wanted: int) -> None:
    assert recommend(HALF, current, pods) == wanted


def scaled(scaler: Autoscaler, current: int, used: list[float], every: int = 15) -> list[int]:
    """Return the replicas after each look, where `used` is what all pods use, in CPUs."""
    controller, found = Controller(scaler), []
    for turn, cpus in enumerate(used):
        current = controller.decide(turn * every, current, Pods(current, cpus / current))
        found.append(current)
    return found


def test_up_by_four_or_double_each_15_seconds() -> None:
    # The last is 160 x 62 / 50: of the 62.5 % there the autoscaler sees 62.
    assert scaled(HALF, 1, [100.0] * 8) == [5, 10, 20, 40, 80, 160, 199, 199]


def test_the_documented_scale_down_from_80_to_10() -> None:
    down = Rules(0, (Policy("Pods", 4, 60), Policy("Percent", 10, 60)))
    found = scaled(replace(HALF, down=down), 80, [5.0] * 24, every=60)
    # 10 %, rounded up, down to 40 pods; from there on 4 a minute.
    assert found[:8] == [72, 64, 57, 51, 45, 40, 36, 32]
    assert found[-1] == 10


def test_a_policy_counts_what_was_done_in_its_period() -> None:
    up = Rules(0, (Policy("Pods", 4, 60),))
    assert scaled(replace(HALF, up=up), 1, [100.0] * 9) == [5, 5, 5, 5, 9, 9, 9, 9, 13]


def test_the_least_change_can_be_chosen_and_none() -> None:
    policies = Policy("Percent", 10, 60), Policy("Pods", 5, 60)
    least = replace(HALF, down=Rules(0, policies, "Min"))
    assert scaled(least, 80, [5.0] * 2, every=60) == [75, 70]
    none = replace(HALF, down=Rules(0, policies, "Disabled"))
    assert scaled(none, 80, [5.0] * 2, every=60) == [80, 80]


def test_down_goes_to_the_highest_of_the_last_five_minutes() -> None:
    used = [5.0] + [2.0] * 10 + [3.0] + [1.0] * 40
    found = scaled(HALF, 10, used)
    # The 10 of the first look counts for 300 s, then the 6 that 3 CPUs asked for, then the 2.
    assert found[:20] == [10] * 20
    assert found[21:31] == [6] * 10
    assert found[33:] == [2] * (len(used) - 33)


def test_up_waits_for_its_window_too() -> None:
    steady = replace(HALF, up=replace(DEFAULT_UP, stabilization=60))
    assert scaled(steady, 2, [1.0, 5.0, 5.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]) == [2] * 7 + [6, 10]


def test_minimum_and_maximum_are_kept() -> None:
    bounded = replace(HALF, minimum=2, maximum=7)
    assert scaled(bounded, 3, [100.0] * 3) == [7, 7, 7]
    assert scaled(bounded, 3, [0.1] * 40)[-1] == 2
    assert scaled(bounded, 1, [0.1]) == [2]
    assert scaled(bounded, 9, [9.0]) == [7]


def steady(rate: float, minutes: int = 20) -> Array:
    return np.full(60 * minutes, rate)


def test_steady_traffic_settles_on_the_formulas_pods() -> None:
    day = simulate(steady(1000), POD, HALF)
    assert (day.replicas == 20).all()
    assert np.allclose(day.utilization, 0.5)
    assert day.shed == 0
    assert day.core_hours == pytest.approx(20 / 3)


def test_a_jump_is_refused_until_new_pods_are_ready() -> None:
    jump = np.concatenate([steady(500, 10), steady(5000, 20)])
    day = simulate(jump, POD, HALF)
    assert (day.ready <= day.replicas).all()
    assert np.allclose(day.offered - day.refused, np.minimum(jump, 100 * day.ready))
    begin = 600
    assert day.refused[begin] == 4000  # 10 pods that do 100 each
    # Nothing can help before a metric shows it, the autoscaler looks, and a pod has started.
    helped = int(np.argmax(day.ready[begin:] > 10))
    assert 15 + POD.ready_seconds <= helped <= 45 + POD.ready_seconds
    # Pods that are full show 100 % of their request, twice the target, whatever is offered: so the
    # replicas only double, and each time the new ones have to be ready before the next.
    steps = day.replicas[begin:][np.flatnonzero(np.diff(day.replicas[begin:])) + 1]
    assert steps.tolist() == [20, 40, 80, 100]
    assert day.refused[begin + 240 :].max() == 0


def test_a_slower_start_refuses_more_and_a_lower_target_less() -> None:
    jump = np.concatenate([steady(500, 10), steady(800, 20)])

    def shed(pod: Pod, target: int) -> float:
        return simulate(jump, pod, replace(HALF, target=target)).shed

    assert shed(POD, 50) == 0
    assert shed(replace(POD, ready_seconds=60), 90) > shed(POD, 90) > 0


def test_a_fixed_number_of_pods_does_what_was_measured() -> None:
    rates = np.repeat([50.0, 150.0, 250.0], 120)
    day = simulate(rates, POD, Autoscaler(1, 1, 50))
    assert np.allclose(day.refused, np.maximum(rates - 100, 0))
    assert np.allclose(day.p99_ms, np.repeat([10.0, 30.0, 50.0], 120))
    assert np.allclose(day.utilization, np.repeat([0.5, 1.0, 1.0], 120))
    assert day.broken(p99_ms=40, error_ratio=0.5).tolist() == [False] * 4 + [True] * 2


def test_a_thousand_pods_take_seconds() -> None:
    begin = time.process_time()
    day = simulate(traffic.synthetic(100_000), POD, replace(HALF, maximum=5000))
    assert time.process_time() - begin < 5
    assert day.replicas.max() > 1000
    assert day.shed < 0.01


def test_the_synthetic_day() -> None:
    day = traffic.synthetic(1000)
    assert len(day) == 24 * 3600
    assert traffic.busiest(day) == pytest.approx(1000)
    assert 0.3 < day.mean() / 1000 < 0.7
    assert day[3 * 3600 : 4 * 3600].mean() < 0.4 * day[11 * 3600 : 12 * 3600].mean()
    assert np.array_equal(day, traffic.synthetic(1000))


def test_a_trace_is_read_between_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    file.write_text("time,rps\n0,100\n60,100\n120,400\n")
    found = traffic.read(file)
    assert len(found) == 120
    assert found[90] == pytest.approx(250)
    file.write_text("time,rps\n2026-11-20T14:00,1\n2026-11-20T14:05,2\n")
    assert len(traffic.read(file)) == 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("when,rps\n0,1\n", "no column 'time'"),
        ("time,rps\n0,1\nsoon,2\n", "line 3"),
        ("time,rps\n0,1\n60,-2\n", "line 3"),
        ("time,rps\n0,1\n60,nan\n", "line 3"),
        ("time,rps\n60,1\n0,2\n", "line 3: time does not go on"),
        ("time,rps\n0,1\n60\n", "line 3"),
        ("time,rps\n0,1\n", "a minute to a week"),
        ("time,rps\n0,0\n600,0\n", "some traffic"),
        ("", "a minute to a week"),
    ],
)
def test_a_bad_trace_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "day.csv"
    file.write_text(text)
    with pytest.raises(PlanError, match=message):
        traffic.read(file)


def test_behavior_is_read_with_defaults(tmp_path: Path) -> None:
    (tmp_path / "hpa.yaml").write_text(
        """
kind: HorizontalPodAutoscaler
spec:
  behavior:
    scaleUp: {stabilizationWindowSeconds: 30}
    scaleDown:
      selectPolicy: Min
      policies: [{type: Pods, value: 2, periodSeconds: 60}]
"""
    )
    up, down = read_behavior(tmp_path)
    assert up == replace(DEFAULT_UP, stabilization=30)
    assert down == Rules(DEFAULT_DOWN.stabilization, (Policy("Pods", 2, 60),), "Min")


def test_spans_put_neighbours_together() -> None:
    broken = np.array([True, False, True, True, False, True])
    assert spans(broken) == [(0, 1), (2, 4), (5, 6)]
    assert spans(np.zeros(3, dtype=bool)) == []


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """The part of a service that the planner reads; returns the path of its sizing.json."""
    overlay, base = tmp_path / "k8s" / "overlays" / "production", tmp_path / "k8s" / "base"
    overlay.mkdir(parents=True)
    base.mkdir()
    (base / "hpa.yaml").write_text("kind: HorizontalPodAutoscaler\nspec: {}\n")
    return Path(shutil.copy(RECORD, overlay))


def test_the_curve_is_what_was_measured(service: Path) -> None:
    curve = read_sizing(service).curve
    assert curve.cpus_at(np.array(650)) == pytest.approx(0.65)
    assert curve.load_at(0.65) == pytest.approx(650)
    assert curve.answered_at(np.array([1100, 9999])) == pytest.approx([990, 990])
    assert curve.p99_at(np.array([0, 900])) == pytest.approx([5, 40])


def test_it_advises_as_make_size_does(service: Path) -> None:
    sizing = read_sizing(service)
    assert sizing.pod_start_seconds == pytest.approx(12)
    assert sizing.scaler_for(peak_rps=5000, average_rps=2000) == sizing.scaler
    few = sizing.scaler_for(peak_rps=5, average_rps=1)
    assert (few.minimum, few.maximum, few.target) == (3, 3, sizing.scaler.target)


def test_a_bad_record_is_named(service: Path) -> None:
    for text in ("", "{}", "[]", '{"measured": {"steps": []}, "advice": {}}'):
        service.write_text(text)
        with pytest.raises(PlanError, match="sizing.json is not what make size writes"):
            read_sizing(service)
    shutil.copy(RECORD, service)
    shutil.rmtree(service.parents[2] / "base")
    with pytest.raises(PlanError, match="no HorizontalPodAutoscaler in .*k8s/base"):
        read_sizing(service)


def test_the_command(
    service: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(service.parent)
    picture = service.parent / "build" / "plan.png"

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["planner", *words])
        return planner.main()

    assert run() == 2
    assert "production/sizing.json; `make size` of a service writes it" in capsys.readouterr().out
    assert run("sizing.json", "--peak-rps=9000") == 0
    said = capsys.readouterr().out
    for plan in ("as in sizing.yaml", "for this traffic", "Kubernetes' defaults", "target 40 %"):
        assert plan in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("sizing.json", "--trace=none.csv") == 2
    assert "none.csv: No such file" in capsys.readouterr().out


def test_a_day_without_traffic_is_no_division_by_zero() -> None:
    day = simulate(steady(0), POD, HALF)
    assert day.shed == 0
    assert not day.broken(100, 0.001).any()
