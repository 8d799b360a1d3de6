"""The model card: one self-contained page that a domain expert can judge the model by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from sklearn import metrics as sk

from service.artifact import Baseline, Data, Golden, Input, Source
from training import plots
from training.evaluate import Array, Evaluation, Gate
from training.figures import Plot
from training.intervals import wilson

MAX_HISTOGRAMS = 30
MAX_CATEGORIES = 12
MAX_EXAMPLES = 5

RESAMPLES = 300
# Fewer rows than this are too few to resample; with more values it takes long to learn little.
MIN_RESAMPLED, MAX_RESAMPLED = 10, 20_000

# In the order of the page; the first of each kind is the headline.
MEANINGS = {
    "accuracy": "Share of answers that are right.",
    "roc_auc": "How often a row of a class is ranked above one of the rest; guessing gives 0.5.",
    "average_precision": "Precision, averaged over all shares of a class that could be found.",
    "precision_macro": "How often the model is right when it names a class; mean over classes.",
    "recall_macro": "How much of a class the model finds; mean over classes.",
    "f1_macro": "Precision and recall in one number that is low if either is; mean over classes.",
    "log_loss": "Penalty for probability given to wrong classes; 0 is perfect.",
    "brier_score": "Mean squared error of the probabilities; 0 is perfect, a coin toss 0.25.",
    "r2": "Share of the target's variation that the answers explain; 1 is perfect.",
    "mae": "Mean size of the error, in units of the target.",
    "rmse": "Typical size of the error, in units of the target, large errors weighing more.",
    "median_error": "Half of the errors are smaller than this.",
    "max_error": "The largest error.",
}
TYPES = {"float": "number", "int": "whole number", "bool": "true or false", "string": "text"}


@dataclass(frozen=True)
class Facts:
    """What the card says besides the evaluation."""

    name: str
    version: str
    created_at: str
    source: Source
    data: Data
    seed: int
    rows_train: int
    inputs: list[Input]
    gates: list[str]
    baseline: Baseline
    golden: Golden
    runtime: dict[str, str]


class Interval(NamedTuple):
    """Where the true value of a metric lies, with 95% confidence."""

    low: float
    high: float


class Metric(NamedTuple):
    name: str
    value: float
    meaning: str
    interval: Interval | None


class Verdict(NamedTuple):
    gate: Gate
    metric: Metric
    passed: bool
    unsure: bool


class ClassRow(NamedTuple):
    name: str
    rows: int
    found: str
    answers: int
    right: str


class Spread(NamedTuple):
    input: Input
    nulls: float
    plot: Plot


def render_card(facts: Facts, evaluation: Evaluation) -> str:
    """Return the page; the same for the same arguments."""
    metrics = _metrics(evaluation, facts.seed)
    score = "accuracy" if evaluation.kind == "classification" else "R²"
    figures = plots.performance(evaluation)
    return PAGE.render(
        facts=facts,
        evaluation=evaluation,
        verdicts=[_verdict(text, evaluation, metrics) for text in facts.gates],
        metrics=metrics,
        guess=_guess(evaluation),
        classes=_class_rows(evaluation),
        figures=[*figures, plots.importance(evaluation.importance, score)],
        spreads=_spreads(facts, evaluation),
        examples=list(zip(facts.golden.instances, facts.golden.predictions, strict=True)),
    )


def _metrics(evaluation: Evaluation, seed: int) -> list[Metric]:
    intervals = _intervals(evaluation, seed)
    names = [name for name in MEANINGS if name in evaluation.metrics]
    names += [name for name in evaluation.metrics if name not in MEANINGS]
    return [
        Metric(name, evaluation.metrics[name], MEANINGS.get(name, ""), intervals.get(name))
        for name in names
    ]


def _verdict(text: str, evaluation: Evaluation, metrics: list[Metric]) -> Verdict:
    gate = Gate.parse(text)
    passed = gate.passes(evaluation.metrics)
    metric = next(metric for metric in metrics if metric.name == gate.metric)
    ends = metric.interval or ()
    return Verdict(gate, metric, passed, any(gate.passes({gate.metric: e}) != passed for e in ends))


def _intervals(evaluation: Evaluation, seed: int) -> dict[str, Interval | None]:
    """Return how far metrics may be off because the held-out rows are few."""
    truth, answer = evaluation.truth, evaluation.answer
    if evaluation.kind == "regression":
        return {
            "r2": _bootstrap(sk.r2_score, truth, answer, seed),
            "rmse": _bootstrap(sk.root_mean_squared_error, truth, answer, seed),
            "mae": _bootstrap(sk.mean_absolute_error, truth, answer, seed),
        }
    low, high = wilson(np.sum(truth == answer), len(truth))
    found: dict[str, Interval | None] = {"accuracy": Interval(float(low), float(high))}
    if evaluation.probability is not None and "roc_auc" in evaluation.metrics:
        one_hot = truth[:, None] == np.asarray(evaluation.classes)[None, :]
        found["roc_auc"] = _bootstrap(_roc_auc, one_hot, evaluation.probability, seed)
    return found


def _bootstrap(
    measure: Callable[[Array, Array], float], truth: Array, answer: Array, seed: int
) -> Interval | None:
    """Return the 95% interval over resampled rows; None if it cannot be told that way."""
    rows = len(truth)
    if rows < MIN_RESAMPLED or answer.size > MAX_RESAMPLED:
        return None
    draws = np.random.default_rng(seed).integers(0, rows, (RESAMPLES, rows))
    low, high = np.nanpercentile(
        [measure(truth[draw], answer[draw]) for draw in draws], [2.5, 97.5]
    )
    # A perfect score stays perfect however often it is resampled: that says nothing.
    return Interval(float(low), float(high)) if low < high else None


def _roc_auc(one_hot: Array, probability: Array) -> float:
    """The mean over the classes present, by ranks: scikit-learn's takes too long to call often."""
    ranks = pd.DataFrame(probability).rank().to_numpy()
    hits = one_hot.sum(axis=0)
    pairs = hits * (len(one_hot) - hits)
    above = (ranks * one_hot).sum(axis=0) - hits * (hits + 1) / 2
    return float(np.mean(above[pairs > 0] / pairs[pairs > 0])) if pairs.any() else np.nan


def _guess(evaluation: Evaluation) -> str:
    """Return what a model that looks at no input would reach: without it no metric means much."""
    if evaluation.kind == "regression":
        deviation = plots.number(float(np.std(evaluation.truth)))
        return f"Always answering the mean would give an R² of 0 and an RMSE of {deviation}."
    name, rows = Counter(evaluation.truth.tolist()).most_common(1)[0]
    share = rows / len(evaluation.truth)
    return f"Always answering “{plots.label(name)}” would be right {share:.1%} of the time."


def _class_rows(evaluation: Evaluation) -> list[ClassRow]:
    found = []
    for name in plots.frequent_classes(evaluation, plots.MAX_CLASSES):
        true, said = evaluation.truth == name, evaluation.answer == name
        hits, rows, answers = (int(np.sum(mask)) for mask in (true & said, true, said))
        found.append(ClassRow(str(name), rows, _share(hits, rows), answers, _share(hits, answers)))
    return found


def _share(hits: int, rows: int) -> str:
    if not rows:
        return "–"
    low, high = wilson(hits, rows)
    return f"{hits / rows:.1%} ({low:.0%}–{high:.0%})"


def _spreads(facts: Facts, evaluation: Evaluation) -> list[Spread]:
    inputs = {item.name: item for item in facts.inputs}
    names = [item.name for item in evaluation.importance[:MAX_HISTOGRAMS]]
    found = facts.baseline.inputs
    return [
        Spread(
            inputs[name],
            found[name].nulls / facts.data.rows,
            plots.histogram(name, found[name]),
        )
        for name in names
    ]


def _allowed(item: Input) -> str:
    """Return what values an input had, in words."""
    if item.minimum is not None and item.maximum is not None:
        ends = plots.number(item.minimum), plots.number(item.maximum)
        return f"always {ends[0]}" if item.minimum == item.maximum else " to ".join(ends)
    if item.type == "bool":
        return "true, false"
    if item.categories is None:
        return "any text"
    more = len(item.categories) - MAX_CATEGORIES
    shown = ", ".join(item.categories[:MAX_CATEGORIES])
    return f"{shown} and {more} more" if more > 0 else shown


def _interval(found: Interval) -> str:
    return " to ".join(plots.number(end, 3) for end in found)


def _value(value: Any) -> str:
    """Return a value of an example as people write it."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    return plots.number(value) if isinstance(value, float) else str(value)


TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ facts.name }} {{ facts.version }}: model card</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark;
  --ink: #1c2733; --soft: #5b6875; --line: #dfe5ea; --paper: #fff; --ground: #f5f7f9;
  --main: #2f6690; --good: #1f7a4d; --bad: #b3372f; --warn: #96610f;
}
* { box-sizing: border-box; }
body {
  margin: 0; color: var(--ink); background: var(--ground);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif;
}
header, main { max-width: 1160px; margin: 0 auto; padding: 0 24px 40px; }
header { display: flex; justify-content: space-between; gap: 16px; padding: 20px 24px 0; }
header, small, .soft, .note, figcaption, dt { color: var(--soft); }
nav a { margin-left: 18px; }
a { color: var(--main); text-decoration: none; }
a:hover { text-decoration: underline; }
h1 { margin: 36px 0 4px; font-size: 34px; line-height: 1.2; letter-spacing: -0.02em; }
h1 span { color: var(--soft); font-weight: 400; }
h2 { margin: 52px 0 4px; font-size: 21px; letter-spacing: -0.01em; }
h3 { margin: 0 0 8px; font-size: 15px; }
p { margin: 4px 0 16px; max-width: 74ch; }
h1, h3, dd, summary, figure, .metric { overflow-wrap: anywhere; }
.lead { font-size: 17px; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 12px; }
.card, figure, details {
  margin: 0; padding: 16px 18px; background: var(--paper);
  border: 1px solid var(--line); border-radius: 10px; break-inside: avoid;
}
.verdict { border-left: 4px solid var(--good); }
.verdict.failed { border-left-color: var(--bad); }
.verdict b { color: var(--good); float: right; }
.verdict.failed b { color: var(--bad); }
.grid > p { grid-column: 1 / -1; margin: 0; }
.unsure { color: var(--warn); }
.metric strong { display: block; font-size: 26px; line-height: 1.25; letter-spacing: -0.02em; }
.metric p, .verdict p { margin: 4px 0 0; font-size: 13.5px; }
.headline {
  grid-area: span 2 / span 2; border-top: 4px solid var(--main);
  display: flex; flex-direction: column; justify-content: center; padding: 18px 28px;
}
.headline strong { margin: 4px 0; font-size: 60px; line-height: 1.1; }
.headline small { font-size: 15px; }
.headline p { font-size: 15px; margin-top: 12px; }
figure img { display: block; width: 100%; height: auto; max-width: 620px; margin: 0 auto; }
figcaption, .note { margin-top: 10px; font-size: 13.5px; }
.small figure { padding: 10px 10px 6px; }
.small h3 { margin: 0; font-size: 13px; }
.small figcaption { margin: 0 0 6px; font-size: 12px; }
.grid > * { min-width: 0; }
.scroll { overflow-x: auto; }
.classes td { white-space: nowrap; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td { padding: 6px 12px 6px 0; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tr:last-child td { border-bottom: 0; }
td, strong, dd { font-variant-numeric: tabular-nums; }
details { margin-bottom: 10px; }
summary { cursor: pointer; }
dl { display: grid; gap: 4px 24px; grid-template-columns: max-content 1fr; margin: 0; }
dd { margin: 0; }
details dl { margin-top: 12px; font-size: 13.5px; }
.values { grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); }
.values div { display: flex; justify-content: space-between; gap: 12px; }
@media (max-width: 600px) { .headline { grid-area: auto; } dl { grid-template-columns: 1fr; } }
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e8ec; --soft: #9aa6b1; --line: #2c353e; --paper: #1a2027; --ground: #12171c;
    --main: #7fb2d9; --good: #5cc08d; --bad: #ef857d; --warn: #dba850;
  }
  figure img { filter: invert(0.9) hue-rotate(180deg); }
}
@media print { body { background: none; font-size: 12px; } nav { display: none; } }
</style>
</head>
<body>
<header>
<span>Model card</span>
<nav>
<a href="docs">API docs</a><a href="metadata">Metadata</a><a href="openapi.json">OpenAPI</a>
</nav>
</header>
<main>
{% set rows = evaluation.truth | length %}
<h1>{{ facts.name }} <span>{{ facts.version }}</span></h1>
<p class="lead">A {{ evaluation.kind }} model with {{ facts.inputs | length }} inputs
{%- if evaluation.classes %}, answering with one of {{ evaluation.classes | length }} classes
{%- endif %}. It learnt from {{ "{:,}".format(facts.rows_train) }} rows and is judged here on
{{ "{:,}".format(rows) }} others, kept aside, that it never saw.
{%- if facts.data.origin %}<br><small>Data: {{ facts.data.origin }}</small>{% endif %}</p>

<section class="grid" aria-label="Gates">
{% for verdict in verdicts %}
<div class="card verdict {{ '' if verdict.passed else 'failed' }}">
<b>{{ "✓ passed" if verdict.passed else "✗ failed" }}</b>
{{ verdict.gate.text | replace("_", " ") | replace(">=", "≥") | replace("<=", "≤") }}
<p class="soft">reached {{ verdict.metric.value | number }}</p>
{% if verdict.unsure %}
<p class="unsure">{{ "{:,}".format(rows) }} rows are too few to be sure: it may truly be
{{ verdict.metric.interval | interval }}.</p>
{% endif %}
</div>
{% else %}
<p class="card">No gates are set: whether this model is good enough is for you to say.</p>
{% endfor %}
</section>

<h2>How good it is</h2>
<p class="soft">Measured on the {{ "{:,}".format(rows) }} rows kept aside. Where an interval
is given, the true value lies in it with 95% confidence: the fewer the rows, the wider it is.</p>
<section class="grid">
{% for metric in metrics %}
<div class="card metric {{ 'headline' if loop.first }}">
<span class="soft">{{ metric.name | replace("_", " ") }}</span>
<strong>{{ metric.value | number(3) }}</strong>
{% if metric.interval %}
<small>{{ metric.interval | interval }}
{%- if loop.first %}, with 95% confidence on {{ "{:,}".format(rows) }} rows{% endif %}</small>
{% endif %}
<p>{{ metric.meaning }}{% if loop.first %} {{ guess }}{% endif %}</p>
</div>
{% endfor %}
</section>

<h2>Where it is right and wrong</h2>
<p class="soft">All of it on the rows kept aside.</p>
<section class="grid plots">
{% for plot in figures %}
<figure>
<h3>{{ plot.title }}</h3>
<img alt="{{ plot.alt }}" src="{{ plot.src }}">
<figcaption>{{ plot.reading }}</figcaption>
</figure>
{% if loop.first and classes %}
<div class="card">
<h3>Class by class</h3>
<div class="scroll"><table class="classes">
<tr><th>Class<th>Rows<th>Found<th>Answers<th>Right</tr>
{% for row in classes %}
<tr>{% for cell in row %}<td>{{ cell }}{% endfor %}</tr>
{% endfor %}
</table></div>
<p class="note">Found: of the rows of a class, the share that the model named so. Right: of the
times it named a class, the share where that was true. In brackets, the 95% interval.</p>
</div>
{% endif %}
{% endfor %}
</section>

<h2>What the data look like</h2>
<p class="soft">How the inputs are spread over all {{ "{:,}".format(facts.data.rows) }} rows,
the most important first. What the model answers to values outside of these ranges is a guess.
{%- if spreads | length < facts.inputs | length %} The {{ spreads | length }} most important of
{{ facts.inputs | length }} inputs are drawn.{% endif %}</p>
<section class="grid small">
{% for spread in spreads %}
<figure>
<h3>{{ spread.plot.title }}</h3>
<figcaption>{{ spread.input | allowed | truncate(40, True, "…") }}
{%- if spread.nulls %}, {{ "{:.1%}".format(spread.nulls) }} missing{% endif %}</figcaption>
<img alt="{{ spread.plot.alt }}" src="{{ spread.plot.src }}">
</figure>
{% endfor %}
</section>

<h2>Inputs</h2>
<details {{ "open" if facts.inputs | length <= 50 }}>
<summary>{{ facts.inputs | length }} inputs</summary>
<div class="scroll"><table>
<tr><th>Name<th>Type<th>May be missing<th>Values in the data</tr>
{% for input in facts.inputs %}
<tr><td>{{ input.name }}<td>{{ TYPES[input.type] }}<td>{{ "yes" if input.nullable else "no" }}
<td>{{ input | allowed }}</tr>
{% endfor %}
</table></div>
</details>

<h2>Examples</h2>
<p class="soft">A few of the rows kept aside, with the model's answers.</p>
{% for instance, prediction in examples[:MAX_EXAMPLES] %}
<details>
<summary>
{%- for name, value in prediction.items() %}{{ " · " if not loop.first }}{{ name }}
<b>{{ value | value }}</b>{% endfor %}</summary>
<dl class="values">
{% for name, value in instance.items() %}
<div><dt>{{ name }}</dt><dd>{{ value | value }}</dd></div>
{% endfor %}
</dl>
</details>
{% endfor %}

<h2>Where it comes from</h2>
<dl class="card">
<dt>Trained</dt><dd>{{ facts.created_at }}</dd>
<dt>Data</dt><dd>{{ "{:,}".format(facts.data.rows) }} rows, sha256 {{ facts.data.sha256 }}</dd>
<dt>Code</dt><dd>
{%- if facts.source.git_sha %}commit {{ facts.source.git_sha }}{% endif %}
{% if facts.source.dirty %}<span class="unsure">with uncommitted changes</span>{% endif %}
{% if not facts.source.git_sha %}<span class="unsure">not under version control</span>{% endif %}
</dd>
<dt>model.py</dt><dd>sha256 {{ facts.source.sha256 }}</dd>
<dt>Seed</dt><dd>{{ facts.seed }}</dd>
<dt>Made with</dt><dd>
{%- for item in facts.runtime.items() %}{{ ", " if not loop.first }}{{ item | join(" ") }}
{%- endfor %}</dd>
</dl>
</main>
</body>
</html>
"""

_environment = Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
_environment.filters.update(number=plots.number, interval=_interval, value=_value, allowed=_allowed)
_environment.globals.update(TYPES=TYPES, MAX_EXAMPLES=MAX_EXAMPLES)
PAGE = _environment.from_string(TEMPLATE)
