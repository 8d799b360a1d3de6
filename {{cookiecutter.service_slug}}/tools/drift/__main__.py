"""Says whether inputs or answers are others than in training: by Datadog's monitors, or by a file.

DATA=recent.csv (or .parquet, or lines of JSON instances) is compared with the model of artifact/,
and no one is asked. With ON_DRIFT=retrain, drift starts the CI system's training. The exit code:
0 calm, or a training was started; 3 drift; 2 used wrongly; 75 no answer, try again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datadog_api_client import Configuration

from pipeline import exits
from service.errors import ROOT, Refusal
from tools.command import Parser
from tools.datadog.client import DatadogError, NoAnswer, configured
from tools.datadog.definitions import FOLDER, Invalid, retraining
from tools.drift import DriftError, Found, LaterError, monitors, recent, retrain
from training import markdown

DRIFT = 3
REPORT = ROOT / "report" / "drift.md"


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    configuration: Configuration | None = None,
    folder: Path = FOLDER,
) -> int:
    """`folder`: where definitions are, of which one in retrain/ is that of the CI system."""
    Parser("tools.drift", __doc__, "drift").parse_args(arguments)
    data, on_drift = environ.get("DATA", ""), environ.get("ON_DRIFT", "")
    try:
        if on_drift not in ("", "retrain"):
            raise DriftError(f"ON_DRIFT={on_drift}: expected retrain, or nothing")
        if data:
            found = recent.check(Path(data))
        else:
            found = monitors.ask(configuration or configured(environ))
        show(found)
        if found.drift and on_drift:
            print(f"started a training: {retrain.start(retraining(folder), environ)}")
            return 0
        return DRIFT if found.drift else 0
    except (NoAnswer, LaterError) as error:
        print(f"drift: {error}", file=sys.stderr)
        return exits.LATER
    except (DriftError, DatadogError, Invalid, Refusal) as error:
        print(f"drift: {error}", file=sys.stderr)
        return exits.MISUSED


def show(found: Found) -> None:
    """Print the table, and write it as a page for a CI system."""
    table = [found.head, *found.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
    said = "drift" if found.drift else "no drift"
    print(said)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(f"## {said.capitalize()}\n\n{markdown.table(found.head, found.rows)}\n")


if __name__ == "__main__":
    sys.exit(main())
