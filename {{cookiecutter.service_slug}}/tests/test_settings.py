from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.errors import Refusal
from service.settings import Settings, cpu_quota


def test_reads_the_environment_and_keeps_defaults_for_the_rest() -> None:
    settings = Settings.from_env(
        {"PORT": "9000", "BODY_TIMEOUT_SECONDS": "2.5", "MAX_INSTANCES": ""}
    )
    assert (settings.port, settings.body_timeout_seconds, settings.max_instances) == (
        9000,
        2.5,
        1000,
    )
    assert settings.bind_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("WEB_CONCURRENCY", "-1"),
        ("MAX_BATCH_SIZE", "0"),
        ("BODY_TIMEOUT_SECONDS", "nan"),
        ("BODY_TIMEOUT_SECONDS", "0"),
        ("LOG_FORMAT", "xml"),
        ("LOG_SAMPLE", "1.1"),
    ],
)
def test_refuses_what_does_not_parse_naming_variable_and_value(name: str, text: str) -> None:
    with pytest.raises(Refusal, match=f"^{name}='{re.escape(text)}': expected "):
        Settings.from_env({name: text})


def test_an_old_name_is_refused_with_the_new_one() -> None:
    with pytest.raises(Refusal, match="^KEEPALIVE is now called KEEPALIVE_SECONDS$"):
        Settings.from_env({"KEEPALIVE": "60"})


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "3200000 100000"}, 8),
    ],
)
def test_cpu_quota_is_that_of_the_cgroup_within_the_affinity(
    files: dict[str, str], cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cpu_quota(tmp_path) == cpus
