"""Why training stopped: one line that says what to do, and where in the owner's code it arose."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = Path(sysconfig.get_path("stdlib"))
LONGEST = 500  # characters of a message; some libraries print whole arrays


class TrainingError(Exception):
    """`trace`: the frames of the traceback that are the owner's, as Python writes them."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


@contextmanager
def owners(step: str, hint: str = "") -> Iterator[None]:
    """Run code of the owner's: what it raises becomes a TrainingError that names `step`.

    `hint`: what to write instead, if it can be guessed.
    """
    try:
        yield
    except TrainingError:
        raise
    except (Exception, SystemExit) as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if _is_owners(Path(frame.filename))
        ]
        trace = "".join(traceback.format_list(frames))
        raise TrainingError(f"{step}: {in_one_line(error)}{hint}", trace) from error


def in_one_line(error: BaseException) -> str:
    """Return the error's message, and its type unless that says nothing."""
    message = " ".join(str(error).split())[:LONGEST]
    if message and type(error) in (ValueError, TypeError, RuntimeError):
        return message
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def _is_owners(path: Path) -> bool:
    ours = ROOT / "service", ROOT / "training", ROOT / "pipeline", LIBRARY
    return (
        path.is_absolute()
        and not any(path.is_relative_to(folder) for folder in ours)
        and not {"site-packages", "dist-packages"} & set(path.parts)
    )
