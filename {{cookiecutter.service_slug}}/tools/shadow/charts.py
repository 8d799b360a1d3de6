"""The pictures of the report: one function each, in the model card's style."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tools.shadow.events import Pair
from tools.shadow.statistics import Array, bounds
from tools.shadow.summary import Classes, Summary, Times
from tools.shadow.words import percent, period
from training.figures import INK, MAIN, MUTED, OTHER, SHADES, Plot, canvas, one_plot, styled, svg
from training.intervals import wilson
from training.plots import label, number

MAX_CLASSES = 12
MAX_STEPS = 80
MAX_BUCKETS = 48
# Widths that a reader can name.
BUCKETS = [timedelta(seconds=s) for s in (1, 5, 15, 60, 300, 900, 3600, 10800, 21600, 86400)]
BAD = "#b3372f"


@styled
def agreement_so_far(summary: Summary, threshold: float, alpha: float) -> Plot:
    """How agreement became certain, pair by pair: the band is the one the gate decides by."""
    good = np.cumsum([pair.agrees for pair in summary.compared])
    pairs = np.arange(1, len(good) + 1)
    first = min(20, len(pairs))  # before, the band fills the picture
    steps = np.unique(np.geomspace(first, len(pairs), MAX_STEPS).astype(int)) - 1
    low, high = np.array([bounds(int(good[i]), int(pairs[i] - good[i]), alpha) for i in steps]).T
    figure, axes = one_plot()
    axes.fill_between(pairs[steps], low, high, color=MAIN, alpha=0.18, linewidth=0)
    axes.plot(pairs[steps], good[steps] / pairs[steps], color=MAIN)
    axes.set(xlabel="pairs compared (log scale)", ylabel="share that agrees", xscale="log")
    axes.xaxis.set_major_formatter(lambda pairs, _: f"{pairs:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    _share_axis(axes, threshold, float(low[len(low) // 2]))
    return Plot(
        "Agreement, and how certain it is",
        f"Agreement after each pair, between {percent(low[-1])} and {percent(high[-1])} at the end",
        "The line is the share of pairs that agreed so far; the band is where the true share lies "
        "(each side is wrong at most "
        f"{percent(alpha)} of the time, however often one looks). The verdict falls when the band "
        "leaves the dotted threshold behind: above it the candidate agrees enough, below it not.",
        svg(figure),
    )


@styled
def agreement_over_time(summary: Summary, threshold: float) -> Plot:
    """Whether agreement is the same at all times, and how many pairs there were."""
    starts, width, good, pairs = _buckets(summary.compared)
    low, high = wilson(good, pairs)
    share = good / pairs
    figure = canvas(height=4.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    middles = [start + width / 2 for start in starts]
    whiskers = np.clip([share - low, high - share], 0, None)
    upper.errorbar(middles, share, whiskers, color=MAIN, fmt="o", markersize=3.5, elinewidth=1)
    upper.set(ylabel="share that agrees")
    _share_axis(upper, threshold, float(np.quantile(low, 0.1)))
    lower.bar(starts, pairs, width, align="edge", color=MUTED)
    lower.set(ylabel="pairs", xlabel="time (UTC)")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    locator = AutoDateLocator(maxticks=7, tz=UTC)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator, tz=UTC)  # type: ignore[no-untyped-call]
    lower.xaxis.set_major_locator(locator)
    lower.xaxis.set_major_formatter(formatter)
    return Plot(
        "Agreement over time",
        f"Agreement in {len(pairs)} periods, {percent(share.min())} to {percent(share.max())}",
        f"Each point is a period of {period(width)}; whiskers are 95% intervals, long where pairs "
        "are few. A step or a slope is a change in traffic or in one of the two sides.",
        svg(figure),
    )


@styled
def flips(classes: Classes) -> Plot:
    """Which class became which."""
    names = classes.names[:MAX_CLASSES]
    size = len(names)
    counts = classes.flips[:size, :size]
    shares = counts / np.maximum(classes.flips.sum(axis=1)[:size, None], 1)
    figure, axes = one_plot(height=max(3.7, 0.3 * size + 1))
    axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="#dde3e9", linewidth=0.8)
    for (i, j), count in np.ndenumerate(counts):
        text = f"{count:,}" + (f"\n{percent(shares[i, j])}" if size <= 6 else "")
        dark = shares[i, j] > 0.55
        color = "white" if dark else BAD if count and i != j else INK
        if count or size <= 6:
            font = 10 if size <= 6 else 7
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=font)
    shown = [label(name, 14) for name in names]
    slope = 60 if sum(map(len, shown)) > 48 else 0
    axes.set_xticks(np.arange(size) + 0.5, shown, rotation=slope)
    axes.set_yticks(np.arange(size) + 0.5, shown)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set(xlabel="the candidate's answer", ylabel="live's answer")
    changed = int(classes.flips.sum() - np.trace(classes.flips))
    hidden = len(classes.names) - size
    more = f" The {size} commonest of {len(classes.names)} classes." if hidden else ""
    return Plot(
        "Who says what",
        f"Flip matrix: {changed} of {classes.flips.sum()} rows changed their class",
        "Each row of the matrix holds what live named so, spread over what the candidate named it; "
        f"off the diagonal the answer flips.{more}",
        svg(figure),
    )


@styled
def differences(name: str, deltas: Array) -> Plot:
    """How far a number of the answer moves."""
    figure, axes = one_plot(height=3.0)
    axes.hist(deltas, bins=60, color=MAIN, log=True)
    axes.axvline(0, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel=f"{label(name, 40)}: candidate less live", ylabel="rows (log scale)")
    axes.yaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    p50, p95, most = np.quantile(np.abs(deltas), [0.5, 0.95, 1])
    return Plot(
        f"Differences of {label(name, 40)}",
        f"Histogram of the differences of {name} in {len(deltas)} rows",
        f"Half of the rows move by at most {number(p50)}, 95% by at most {number(p95)}, none by "
        f"more than {number(most)}; on average by {number(float(deltas.mean()), 2)}. A hill beside "
        "the dotted line is a shift, a wide one is noise.",
        svg(figure),
    )


@styled
def latency(times: Times) -> Plot:
    """Both sides' inference times, one over the other."""
    figure, axes = one_plot()
    both = np.maximum(np.concatenate([times.live, times.candidate]), 1e-3)
    ends = np.quantile(both, [0.0005, 0.9995])
    edges = np.geomspace(ends[0] * 0.95, ends[1] * 1.05, 60)
    for values, color, name in ((times.live, MAIN, "live"), (times.candidate, OTHER, "candidate")):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        axes.stairs(counts, edges, fill=True, color=color, alpha=0.18)
        axes.stairs(counts, edges, color=color, linewidth=1.3)
        p50, p99 = np.quantile(values, [0.5, 0.99])
        axes.plot([], [], color=color, label=f"{name}: p50 {p50:.3g} ms, p99 {p99:.3g} ms")
        axes.axvline(p50, color=color, linewidth=1)
        axes.axvline(p99, color=color, linewidth=1, linestyle=":")
    figure.legend(loc="outside lower center", ncols=2)
    axes.set(xscale="log", xlabel="inference, ms (log scale)", ylabel="pairs")
    # With few decades the figures between them are needed too, with many there is no room.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if edges[-1] < 300 * edges[0] else (1,)))
    axes.xaxis.set_major_formatter(lambda ms, _: f"{ms:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return Plot(
        "Inference, side by side",
        f"Histograms of inference times, live median {np.median(times.live):.3g} ms, "
        f"candidate {np.median(times.candidate):.3g} ms",
        "Each side times its own model, with one kind of clock, on the same requests. Full lines "
        "are medians, dotted ones the 99th percentiles.",
        svg(figure),
    )


def _buckets(pairs: list[Pair]) -> tuple[list[datetime], timedelta, Array, Array]:
    """Return the starts of the periods with pairs, how long one is, its agreeing and all pairs."""
    start, span = pairs[0].time, pairs[-1].time - pairs[0].time
    width = next((width for width in BUCKETS if span / width <= MAX_BUCKETS), BUCKETS[-1])
    found: dict[int, list[int]] = {}
    for pair in pairs:
        bucket = found.setdefault((pair.time - start) // width, [0, 0])
        bucket[0] += pair.agrees
        bucket[1] += 1
    good, all = np.array(list(found.values())).T
    return [start + index * width for index in found], width, good, all


def _share_axis(axes: Axes, threshold: float, lowest: float) -> None:
    """From the lowest share that matters to all, with the threshold drawn in."""
    low = min(lowest, threshold)
    room = max(1 - low, 0.002) / 10
    axes.set_ylim(max(0.0, low - room), 1 + room / 4)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(lambda share, _: percent(share) if share <= 1 else "")
    axes.axhline(threshold, color=BAD, linestyle=":", linewidth=1.2)
    axes.annotate(
        f"asked for: {percent(threshold)}",
        (1, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        color=BAD,
        fontsize=8,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )
