"""A day's traffic, a rate for each second: from a file, or as services for people have it."""

from __future__ import annotations

import csv
import math
from datetime import datetime
from pathlib import Path

import numpy as np

from loadtests.planner import PlanError
from loadtests.planner.pod import Array

DAY = 24 * 3600
LONGEST = 7 * DAY
SEED = 0
# Traffic in percent of the day's high: night, morning rise, noon, afternoon, evening, night.
HOURS = (0, 2, 4, 6, 7, 8, 9, 10, 12, 13, 14, 16, 18, 19.5, 21, 22, 23, 24)
PERCENTS = (30, 20, 17, 20, 30, 50, 70, 78, 82, 76, 80, 78, 72, 80, 70, 55, 40, 30)
# The noise upon that: a share of the traffic, and how long a deviation lasts.
NOISE, NOISE_SECONDS = 0.04, 90
# A jump once a day: a mailing, or retries after an outage, bring half as many people again.
JUMP_HOUR, JUMP, JUMP_RISE_SECONDS, JUMP_FALL_SECONDS = 11, 0.5, 60, 900


def synthetic(peak_rps: float) -> Array:
    """Return a day whose busiest minute has `peak_rps` requests a second; always the same."""
    seconds = np.arange(DAY, dtype=float)
    base = np.interp(seconds / 3600, HOURS, PERCENTS)
    since = seconds - JUMP_HOUR * 3600
    jump = np.clip(since / JUMP_RISE_SECONDS, 0, 1) * np.exp(
        -np.maximum(since, 0) / JUMP_FALL_SECONDS
    )
    # Neighbouring seconds are alike, those some minutes apart are not.
    width = 3 * NOISE_SECONDS
    kernel = np.exp(-0.5 * (np.arange(-width, width + 1) / NOISE_SECONDS) ** 2)
    noise = np.random.default_rng(SEED).standard_normal(DAY + 2 * width)
    smooth = np.convolve(noise, kernel / np.sqrt((kernel**2).sum()), mode="valid")
    return scale(base * (1 + JUMP * jump) * np.maximum(1 + NOISE * smooth, 0), peak_rps)


def busiest(offered: Array) -> float:
    """Return the requests a second in the busiest minute."""
    window = min(60, len(offered))
    return float(np.convolve(offered, np.full(window, 1 / window), mode="valid").max())


def scale(offered: Array, peak_rps: float) -> Array:
    """Return the same traffic with that many requests a second in its busiest minute."""
    return np.asarray(offered * (peak_rps / busiest(offered)))


def read(file: Path) -> Array:
    """Return the traffic of a CSV file with the columns time and rps, a value for each second.

    Time is in seconds or as in 2026-11-20T14:00; in between, straight lines. Raises PlanError
    with the line at fault.
    """
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not a text file"
        raise PlanError(f"{file}: {why}") from None
    times, rates = [], []
    for number, row in enumerate(rows, start=2):
        try:
            times.append(_seconds(row["time"]))
            rates.append(float(row["rps"]))
        except KeyError as missing:
            raise PlanError(f"{file}: no column {missing}; the first line is time,rps") from None
        except (TypeError, ValueError):
            raise PlanError(f"{file}, line {number}: expected a time and a number") from None
        if not (math.isfinite(times[-1]) and 0 <= rates[-1] < math.inf):
            raise PlanError(f"{file}, line {number}: expected a rate of 0 or more")
        if len(times) > 1 and times[-1] <= times[-2]:
            raise PlanError(f"{file}, line {number}: time does not go on")
    if times and max(rates) == 0:
        raise PlanError(f"{file}: expected some traffic")
    if len(times) < 2 or not 60 <= times[-1] - times[0] <= LONGEST:
        raise PlanError(f"{file}: expected a minute to a week of traffic")
    seconds = np.arange(times[0], times[-1])
    return np.asarray(np.interp(seconds, times, rates))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
