"""An aws, a kubectl and a docker that play what a cloud, a cluster and an engine would say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# Answers a command by the next of the answers that were given for its first words, and by the last
# one for ever. A text that begins with "!" is an error.
PLAYER = f"""#!{sys.executable}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = " ".join(sys.argv[1:])
given = sys.stdin.read() if {{"-", "--password-stdin"}} & {{*sys.argv}} else ""
with open(here / "calls", "a") as calls: print(json.dumps([sys.argv[1:], given]), file=calls)
for first, answers in json.loads((here / "plays").read_text()).items():
    if words.startswith(first):
        at = here / f"at {{first}}".replace("/", "")
        turn = int(at.read_text()) if at.exists() else 0
        at.write_text(str(turn + 1))
        answer = answers[min(turn, len(answers) - 1)]
        if isinstance(answer, str) and answer.startswith("!"): sys.exit(answer[1:])
        print(answer if isinstance(answer, str) else json.dumps(answer))
        break
else: sys.exit(f"nobody said what to answer to: {{words}}")
"""


class Player:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("aws", "kubectl", "docker"):
            (folder / name).write_text(PLAYER)
            (folder / name).chmod(0o755)

    def plays(self, **answers: list[Json | str]) -> None:
        """Say what to answer to commands; an underscore in their words stands for a space."""
        plays = {first.replace("_", " "): found for first, found in answers.items()}
        (self.folder / "plays").write_text(json.dumps(plays))

    def calls(self, first: str) -> list[tuple[list[str], str]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [(c, g) for c, g in map(json.loads, lines) if " ".join(c).startswith(first)]

    def asked(self, first: str) -> list[Json]:
        """Return what aws was asked for, as JSON."""
        return [json.loads(c[c.index("--cli-input-json") + 1]) for c, _ in self.calls(first)]

    def created(self) -> list[Json]:
        return [json.loads(given) for _, given in self.calls("create")]
