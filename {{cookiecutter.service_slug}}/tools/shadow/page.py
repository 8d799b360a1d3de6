"""The report as one page that asks nothing of other hosts."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined

from tools.shadow.report import Report
from tools.shadow.words import MARKS

COMPARED = ("match", "within_tolerance", "mismatch", "candidate_error")


def as_page(report: Report) -> str:
    """Return the page; the same for the same report."""
    summary = report.summary
    parts = {verdict: summary.verdicts[verdict] for verdict in COMPARED}
    parts["missing"] = sum(summary.coverage.missing.values())
    return PAGE.render(
        report=report,
        summary=summary,
        decision=report.decision,
        parts={name: count for name, count in parts.items() if count},
    )


TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.service }}: {{ decision.verdict }} {{ summary.candidate or "" }}</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark;
  --ink: #1c2733; --soft: #5b6875; --line: #dfe5ea; --paper: #fff; --ground: #f5f7f9;
  --main: #2f6690; --good: #1f7a4d; --bad: #b3372f; --warn: #96610f; --other: #8fb3cf;
}
* { box-sizing: border-box; }
body {
  margin: 0; color: var(--ink); background: var(--ground);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif;
}
header, main { max-width: 1160px; margin: 0 auto; padding: 0 24px 40px; }
header { padding: 20px 24px 0; }
header, small, .soft, figcaption { color: var(--soft); }
h1 { margin: 36px 0 12px; font-size: 34px; line-height: 1.2; letter-spacing: -0.02em; }
h1 span { color: var(--soft); font-weight: 400; }
h2 { margin: 52px 0 4px; font-size: 21px; letter-spacing: -0.01em; }
h3 { margin: 0 0 8px; font-size: 15px; }
p { margin: 4px 0 16px; max-width: 78ch; }
h1, td, figure, .rule { overflow-wrap: anywhere; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.rules { grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); }
.plots { grid-template-columns: repeat(auto-fill, minmax(min(430px, 100%), 1fr)); }
.grid > * { min-width: 0; }
.plots { align-items: start; }
.wide { grid-column: 1 / -1; }
.card, figure {
  margin: 0; padding: 16px 18px; background: var(--paper);
  border: 1px solid var(--line); border-radius: 10px; break-inside: avoid;
}
.verdict { margin-bottom: 16px; padding: 22px 28px; border-left: 8px solid var(--tone); }
.verdict strong { display: block; font-size: 44px; line-height: 1.15; color: var(--tone); }
.verdict p { margin: 8px 0 0; max-width: none; font-size: 16px; }
.promote, .passed { --tone: var(--good); }
.reject, .failed { --tone: var(--bad); }
.inconclusive, .open { --tone: var(--warn); }
.rule { border-left: 4px solid var(--tone); font-size: 13.5px; }
.rule b { color: var(--tone); float: right; font-size: 14px; }
.rule h3 { margin: 0 0 2px; }
.fact { font-size: 13px; line-height: 1.4; }
.fact strong {
  display: block; font-size: 26px; line-height: 1.3; letter-spacing: -0.02em; white-space: nowrap;
}
.facts { margin-top: 16px; }
.bar { display: flex; height: 22px; margin: 0 0 16px; border-radius: 6px; overflow: hidden; }
.bar i { min-width: 2px; }
.match { background: var(--main); }
.within_tolerance { background: var(--other); }
.mismatch { background: #d9822b; }
.candidate_error { background: var(--bad); }
.missing { background: var(--line); }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0 0 6px; font-size: 13.5px; }
.key i {
  display: inline-block; width: 11px; height: 11px; margin-right: 6px; border-radius: 3px;
}
figure img { display: block; width: 100%; height: auto; max-width: 620px; margin: 0 auto; }
figcaption { margin-top: 10px; font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td { padding: 6px 14px 6px 0; text-align: left; border-bottom: 1px solid var(--line); }
td { vertical-align: top; white-space: nowrap; }
td:last-child { white-space: normal; }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tr:last-child td { border-bottom: 0; }
td, strong { font-variant-numeric: tabular-nums; }
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e3e8ec; --soft: #9aa6b1; --line: #2c353e; --paper: #1a2027; --ground: #12171c;
    --main: #7fb2d9; --good: #5cc08d; --bad: #ef857d; --warn: #dba850; --other: #4a6b85;
  }
  figure img { filter: invert(0.9) hue-rotate(180deg); }
}
@media print { body { background: none; font-size: 12px; } }
</style>
</head>
<body>
<header>Ghost mode report · {{ report.service }}</header>
<main>
<h1>{{ summary.candidate or "No candidate" }} <span>beside</span>
{{ summary.live or "nothing" }} <span>{{ "(itself)" if summary.same_version }}</span></h1>

<section class="card verdict {{ decision.verdict }}" aria-label="Verdict">
<strong>{{ decision.verdict | capitalize }}</strong>
<p>{{ decision.because[0] | upper }}{{ decision.because[1:] }}.</p>
</section>
<section class="grid rules" aria-label="Rules">
{% for rule in decision.rules %}
<div class="card rule {{ rule.state }}"><b>{{ MARKS[rule.state] }} {{ rule.state }}</b>
<h3>{{ rule.name }}</h3>{{ rule.words }}</div>
{% endfor %}
</section>
<section class="grid facts" aria-label="Figures">
{% for fact in report.facts %}
<div class="card fact"><span class="soft">{{ fact.name }}</span>
<strong>{{ fact.value }}</strong><span class="soft">{{ fact.about }}</span></div>
{% endfor %}
</section>

{% for section in report.sections %}
<h2>{{ section.title }}</h2>
<p class="soft">{{ section.words }}</p>
{% if loop.first and parts %}
<div class="bar" aria-hidden="true">
{% for name, count in parts.items() %}
<i class="{{ name }}" style="flex: {{ count }}"></i>
{% endfor %}
</div>
<div class="key">
{% for name, count in parts.items() %}
<span><i class="{{ name }}"></i>{{ name | replace("_", " ") }} {{ "{:,}".format(count) }}</span>
{% endfor %}
</div>
{% endif %}
<section class="grid plots">
{% for plot in section.plots %}
<figure>
<h3>{{ plot.title }}</h3>
<img alt="{{ plot.alt }}" src="{{ plot.src }}">
<figcaption>{{ plot.reading }}</figcaption>
</figure>
{% endfor %}
{% for table in section.tables if table.rows %}
<div class="card scroll {{ 'wide' if not section.plots and table.head | length > 3 }}"><table>
<tr>{% for cell in table.head %}<th>{{ cell }}{% endfor %}</tr>
{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}{% endfor %}</tr>
{% endfor %}
</table></div>
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""

_environment = Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
)
_environment.globals.update(MARKS=MARKS)
PAGE = _environment.from_string(TEMPLATE)
