"""`python -m tools.shadow`: report on a candidate, or decide on it by rule.

`report` writes an HTML page and a Markdown summary. `gate` prints the verdict as JSON and exits
with 0: promote, 1: reject or 2: inconclusive.
"""

from __future__ import annotations

import json
import sys
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tools.command import Parser
from tools.shadow import events, gate, labels, rules, summary, thresholds

# Exit code for a mistake, in use or of ours: none of the gate's 0, 1 and 2, which are verdicts.
NO_VERDICT = 3


def main(arguments: list[str] | None = None) -> int:
    parser = Parser("tools.shadow", __doc__, "no verdict", NO_VERDICT)
    parser.add_argument("command", choices=("report", "gate"))
    parser.add_argument("files", nargs="+", help="logs of the live service; -: standard input")
    parser.add_argument(
        "--labels", type=Path, help="CSV or JSON lines (pair_id, truth), or a log with truths"
    )
    parser.add_argument("--thresholds", type=Path, default=thresholds.PATH)
    parser.add_argument("--out", type=Path, default=Path("shadow-report.html"), help="the report")
    given = parser.parse_args(arguments)
    try:
        limits = thresholds.read(given.thresholds)
        truths = labels.read(given.labels) if given.labels else None
        found = events.read_files(given.files)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return NO_VERDICT
    seen = summary.summarise(found, limits, truths)
    decision = gate.decide(seen, limits)
    if given.command == "gate":
        print(json.dumps(gate.as_json(decision, seen, limits), indent=2))
        return rules.EXIT_CODES[decision.verdict]
    # Imported here: what draws takes a second to import, and the gate does not need it.
    from tools.shadow.forms import as_markdown, as_page
    from tools.shadow.report import make_report

    service = tomllib.loads(thresholds.PATH.with_name("service.toml").read_text())["name"]
    report = make_report(service, seen, found.lines, limits, decision)
    given.out.write_text(as_page(report), encoding="utf-8")
    given.out.with_suffix(".md").write_text(as_markdown(report), encoding="utf-8")
    print(f"{decision.verdict}: {decision.because}")
    print(f"report: {given.out} and {given.out.with_suffix('.md')}")
    return 0


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Exit with the code of `main`; a fault of ours must not look like Python's 1, a rejection."""
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = NO_VERDICT
    sys.exit(code)


if __name__ == "__main__":
    exit_with(main)
