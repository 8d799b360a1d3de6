"""`python -m tools.accuracy`: live accuracy by the truth that callers sent to /feedback.

Writes an HTML page and prints a line that begins with good, undecided or below. Exits with 1 if
a gate of the model is certainly not reached, 2 if used wrongly, else 0.
"""

from __future__ import annotations

import csv
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from service.artifact import read_manifest
from service.errors import Refusal
from tools import feedback
from tools.accuracy.judge import judge
from tools.command import Parser
from tools.feedback import Truth


def main(arguments: list[str] | None = None) -> int:
    parser = Parser("tools.accuracy", __doc__, "not judged")
    parser.add_argument("files", nargs="+", help="logs of the service; -: standard input")
    parser.add_argument("--truths", type=Path, help="a CSV file to write: each truth once")
    parser.add_argument("--out", type=Path, default=Path("accuracy.html"), help="the report")
    given = parser.parse_args(arguments)
    try:
        manifest = read_manifest(Path(os.environ.get("ARTIFACT_DIR") or "artifact"))
        truths = feedback.read_files(given.files)
    except (OSError, Refusal) as error:
        parser.error(str(error))
    found = judge(truths.found, manifest)
    # Imported here: what draws takes a second to import.
    from tools.accuracy.report import as_page, in_a_line

    given.out.write_text(as_page(manifest.name, found, truths), encoding="utf-8")
    if given.truths:
        write(given.truths, truths.found)
    print(in_a_line(found))
    read = "; ".join(f"{kind}: {count:,}" for kind, count in truths.lines.most_common())
    print(f"lines read: {read or 'none'}")
    print(f"report: {given.out}")
    return int(found.state == "below")


def write(path: Path, truths: Iterable[Truth]) -> None:
    """Write truths as CSV, for load_data; what is not known is empty."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["request_id", "index", "version", "prediction", "truth", "time", "value"])
        for truth in truths:
            said = truth.version, truth.prediction, truth.truth
            when = truth.time.isoformat()
            rows.writerow([truth.request_id, truth.index, *said, when, truth.value])


def run() -> NoReturn:
    """Exit with the code of `main`; a fault of ours must not look like Python's 1, a finding."""
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    run()
