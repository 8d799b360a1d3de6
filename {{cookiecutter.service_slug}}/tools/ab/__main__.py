"""`python -m tools.ab`: report on a candidate that has a share of the users, or decide by rule.

`report` writes an HTML page and a Markdown summary. `gate` prints the verdict as JSON and exits
with 0: promote, 1: reject or 2: inconclusive.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

from tools.ab import events, gate, summary, thresholds
from tools.command import Parser
from tools.shadow.__main__ import NO_VERDICT, exit_with
from tools.shadow.rules import EXIT_CODES


def main(arguments: list[str] | None = None) -> int:
    parser = Parser("tools.ab", __doc__, "no verdict", NO_VERDICT)
    parser.add_argument("command", choices=("report", "gate"))
    parser.add_argument("files", nargs="+", help="logs of the live service; -: standard input")
    parser.add_argument("--thresholds", type=Path, default=thresholds.PATH)
    parser.add_argument("--out", type=Path, default=Path("ab-report.html"), help="the report")
    given = parser.parse_args(arguments)
    try:
        limits = thresholds.read(given.thresholds)
        found = events.read_files(given.files)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return NO_VERDICT
    seen = summary.summarise(found, limits)
    decision = gate.decide(seen, limits)
    if given.command == "gate":
        print(json.dumps(gate.as_json(decision, seen, limits), indent=2))
        return EXIT_CODES[decision.verdict]
    # Imported here: what draws takes a second to import, and the gate does not need it.
    from tools.ab.report import make_report
    from tools.shadow.forms import as_markdown, as_page

    service = tomllib.loads(thresholds.PATH.with_name("service.toml").read_text())["name"]
    report = make_report(service, seen, found.lines, limits, decision)
    given.out.write_text(as_page(report), encoding="utf-8")
    given.out.with_suffix(".md").write_text(as_markdown(report), encoding="utf-8")
    print(f"{decision.verdict}: {decision.because}")
    print(f"report: {given.out} and {given.out.with_suffix('.md')}")
    return 0


if __name__ == "__main__":
    exit_with(main)
