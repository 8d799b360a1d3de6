"""What the report on shadow traffic tells, section by section; forms.py gives it a form.

The gate's rules stand at its head and say what decides; nothing is said again below them.
"""

from __future__ import annotations

from tools.shadow import charts, statistics, tables
from tools.shadow.coverage import by_frequency
from tools.shadow.forms import Fact, Report, Section
from tools.shadow.rules import Decision
from tools.shadow.summary import Summary
from tools.shadow.thresholds import Latency, Thresholds
from tools.shadow.words import percent
from training.intervals import wilson

MAX_HISTOGRAMS = 4
COMPARED = ("match", "within_tolerance", "mismatch", "candidate_error")


def make_report(
    service: str, summary: Summary, read: dict[str, int], thresholds: Thresholds, decision: Decision
) -> Report:
    """Return the report; the same for the same arguments. `read`: numbers of lines, by kind."""
    sections = [_coverage(summary)]
    facts = []
    if summary.good + summary.bad:
        facts = _facts(summary, thresholds)
        sections.append(_agreement(summary, thresholds))
    if summary.deltas:
        words = "How far the numbers in the answers move: the candidate's less live's, row by row."
        shown = list(summary.deltas.items())[:MAX_HISTOGRAMS]
        plots = [charts.differences(name, values) for name, values in shown]
        sections.append(Section("Scores", words, plots, [tables.differences(summary)]))
    sections.append(_times(summary, thresholds.latency))
    if summary.fields:
        words = "In how many pairs, the most frequent first, with a few examples."
        sections.append(Section("Fields that differ", words, tables=[tables.fields(summary)]))
    lines = read | {
        f"pairs of other versions ({live or '?'} and {candidate or '?'})": pairs
        for (live, candidate), pairs in summary.others.items()
    }
    words = "; ".join(f"{kind}: {n:,}" for kind, n in by_frequency(lines).items())
    sections.append(Section("Lines of log that were read", f"{words or 'none'}."))
    parts = {verdict: summary.verdicts[verdict] for verdict in COMPARED}
    parts["missing"] = sum(summary.coverage.missing.values())
    return Report(
        f"Report on shadow traffic · {service}",
        service,
        summary.live,
        summary.candidate,
        decision,
        facts,
        sections,
        {name: count for name, count in parts.items() if count},
    )


def _facts(summary: Summary, thresholds: Thresholds) -> list[Fact]:
    """Return the facts of a report that has pairs."""
    share = summary.good / (summary.good + summary.bad)
    low, high = statistics.bounds(summary.good, summary.bad, thresholds.evidence.alpha)
    facts = [
        Fact("agreement", percent(share), f"between {percent(low)} and {percent(high)}"),
        _noise_floor(*summary.itself, thresholds.agreement),
    ]
    if (kappa := summary.classes.kappa) is not None:
        facts.append(Fact("kappa", f"{kappa:.3f}", "agreement beyond chance: 0 is none, 1 is all"))
    if found := summary.labelled:
        about = f"of {found.used:,} labelled pairs only the candidate, only live was right"
        if found.unknown or found.unusable:
            about += f"; {found.unknown:,} labels are of pairs that were not read"
            about += f", {found.unusable:,} of pairs that do not tell both answers"
        facts.append(Fact("labels", f"{found.better:,} : {found.worse:,}", about))
    return facts


def _noise_floor(pairs: int, agreeing: int, asked: float) -> Fact:
    """Return how far the live version agrees with itself: no candidate can be asked for more."""
    name = "live agrees with itself"
    if not pairs:
        return Fact(name, "?", "not measured: let live be its own candidate for an hour")
    low, high = map(float, wilson(agreeing, pairs))
    about = f"{percent(low)} to {percent(high)}, of {pairs:,} pairs"
    if low <= asked:
        about += f"; the {percent(asked)} asked for may be out of reach"
    return Fact(name, percent(agreeing / pairs), about)


def _coverage(summary: Summary) -> Section:
    found, pairs = summary.coverage, summary.pairs
    workers = f"{found.workers} worker{'' if found.workers == 1 else 's'}"
    words = f"{found.eligible:,} requests came to {workers}; {found.wanted:,} were to be compared."
    if pairs:
        words += f" Pairs are from {pairs[0].time:%F %T} to {pairs[-1].time:%F %T} UTC."
    words += (
        " What was not compared may be just what goes wrong, so it is counted and limited. An "
        "error of the candidate is a disagreement."
    )
    return Section("Traffic and coverage", words, tables=tables.coverage(summary))


def _agreement(summary: Summary, thresholds: Thresholds) -> Section:
    alpha = thresholds.evidence.alpha
    compared = [pair for pair in summary.pairs if pair.compared]
    plots = [charts.agreement(compared, thresholds.agreement, alpha)]
    if summary.classes.names:
        plots.append(charts.flips(summary.classes))
    words = (
        f"Each bound is wrong at most {percent(alpha)} of the time, however often one looks. Where "
        "one class is common, agreeing is easy: look at the rare ones too, and at kappa."
    )
    return Section("Agreement", words, plots, [tables.classes(summary)])


def _times(summary: Summary, limits: Latency) -> Section:
    plots = [charts.latency(summary.times)] if len(summary.times.live) else []
    words = (
        f"A copy is slow if inference took over {limits.slo_ms:g} ms, or over "
        f"{limits.times_live:g} times live's and {limits.plus_ms:g} ms. The first "
        f"{limits.warm_up_pairs:,} pairs are left out, as caches are cold. Seen from live, network "
        "and queues are included: a figure of health, not of the candidate's speed. Live's CPU "
        "time includes making copies; the candidate's is known if its logs were read too."
    )
    return Section("Latency", words, plots, [tables.times(summary)])
