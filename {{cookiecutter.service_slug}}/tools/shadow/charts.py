"""The pictures of the report: one function each, in the model card's style."""

from __future__ import annotations

from datetime import UTC

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tools.shadow.events import Pair
from tools.shadow.statistics import Array, bounds
from tools.shadow.summary import Classes, Times
from tools.shadow.words import percent
from training.figures import INK, MAIN, OTHER, SHADES, Plot, canvas, one_plot, styled, svg
from training.plots import label

MAX_CLASSES = 12
STEPS, PERIODS = 80, 40  # points of a line, bars beside each other
BAD = "#b3372f"


@styled
def agreement(compared: list[Pair], threshold: float, alpha: float) -> Plot:
    """How agreement became certain: the band is the one the gate decides by; and how steady it is.

    `alpha`: how often, at most, each side of the band is wrong.
    """
    times = date2num([pair.time for pair in compared])  # type: ignore[no-untyped-call]
    agrees = np.array([pair.agrees for pair in compared])
    good, pairs = np.cumsum(agrees), np.arange(1, len(agrees) + 1)
    first = min(20, len(pairs))  # before, the band fills the picture
    steps = np.unique(np.linspace(first, len(pairs), STEPS).astype(int)) - 1
    low, high = np.array([bounds(int(good[i]), int(pairs[i] - good[i]), alpha) for i in steps]).T
    figure = canvas(height=4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.fill_between(times[steps], low, high, color=MAIN, alpha=0.18, linewidth=0)
    upper.plot(times[steps], good[steps] / pairs[steps], color=MAIN)
    asked = f"asked for: {percent(threshold)}"
    upper.axhline(threshold, color=BAD, linestyle=":", linewidth=1.2, label=asked)
    upper.legend(loc="lower right")
    lowest = min(float(low[len(low) // 2]), threshold)
    room = max(1 - lowest, 0.002) / 10
    upper.set(ylabel="share that agrees", ylim=(max(0.0, lowest - room), 1 + room / 4))
    upper.yaxis.set_major_formatter(lambda share, _: percent(share) if share <= 1 else "")
    every, edges = np.histogram(times, PERIODS)
    differing, _ = np.histogram(times[~agrees], edges)
    lower.stairs(differing / np.maximum(every, 1), edges, fill=True, color=BAD)
    lower.set(ylabel="that differs", xlabel="time (UTC)", ylim=(0, None))
    lower.yaxis.set_major_locator(MaxNLocator(3))
    lower.yaxis.set_major_formatter(lambda share, _: percent(share))
    label_times(lower)
    return Plot(
        "Agreement, how certain and how steady it is",
        f"Agreement after each pair, between {percent(low[-1])} and {percent(high[-1])} at the end",
        "The line is the share of pairs that agreed so far, the band is where the true share lies. "
        "The verdict falls when the band leaves the dotted threshold behind: above it the "
        "candidate agrees enough, below it not. A step or a slope in the bars is a change in "
        "traffic or in one of the two sides.",
        svg(figure),
    )


def label_times(axes: Axes) -> None:
    """Have an axis of times say them in words, from three to seven."""
    # Between three and seven there is an interval for any span; between the default five and seven
    # there is none for half an hour, or four days.
    locator = AutoDateLocator(minticks=3, maxticks=7, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]


@styled
def flips(classes: Classes) -> Plot:
    """Which class became which."""
    names = [label(name, 14) for name in classes.names[:MAX_CLASSES]]
    size = len(names)
    counts = classes.flips[:size, :size]
    shares = counts / np.maximum(classes.flips.sum(axis=1)[:size, None], 1)
    figure, axes = one_plot(height=max(3.7, 0.3 * size + 1))
    axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="#dde3e9", linewidth=0.8)
    few = size <= 6
    for (i, j), count in np.ndenumerate(counts):
        if count or few:
            text = f"{count:,}\n{percent(shares[i, j])}" if few else f"{count:,}"
            color = "white" if shares[i, j] > 0.55 else BAD if count and i != j else INK
            font = 10 if few else 7
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=font)
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=60 if sum(map(len, names)) > 48 else 0)
    axes.set_yticks(np.arange(size) + 0.5, names)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set(xlabel="the candidate's answer", ylabel="live's answer")
    rows = int(classes.flips.sum())
    hidden = size < len(classes.names)
    return Plot(
        "Who says what",
        f"Flip matrix: {rows - int(np.trace(classes.flips))} of {rows} rows changed their class",
        "Each row of the matrix holds what live named so, spread over what the candidate named it; "
        "off the diagonal the answer flips."
        + (f" The {size} commonest of {len(classes.names)} classes." if hidden else ""),
        svg(figure),
    )


@styled
def differences(name: str, deltas: Array) -> Plot:
    """How far a number of the answer moves."""
    figure, axes = one_plot(height=3.0)
    axes.hist(deltas, bins=60, color=MAIN, log=True)
    axes.axvline(0, color=INK, linestyle=":", linewidth=1)
    axes.set(xlabel=f"{label(name, 40)}: candidate less live", ylabel="rows (log scale)")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    return Plot(
        f"Differences of {label(name, 40)}",
        f"Histogram of the differences of {name} in {len(deltas)} rows",
        "A hill beside the dotted line is a shift, a wide one is noise.",
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
        axes.stairs(counts, edges, color=color, linewidth=1.3, label=name)
        for q, line in ((0.5, "-"), (0.99, ":")):
            axes.axvline(float(np.quantile(values, q)), color=color, linewidth=1, linestyle=line)
    axes.legend()
    axes.set(xscale="log", xlabel="inference, ms (log scale)", ylabel="pairs")
    # With few decades the figures between them are needed too, with many there is no room.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if edges[-1] < 300 * edges[0] else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return Plot(
        "Inference, side by side",
        f"Histograms of inference times, live median {np.median(times.live):.3g} ms, "
        f"candidate {np.median(times.candidate):.3g} ms",
        "Each side times its own model, with one kind of clock, on the same requests. Full lines "
        "are medians, dotted ones the 99th percentiles.",
        svg(figure),
    )
