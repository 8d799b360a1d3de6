"""What a DogStatsD datagram says. Reads what it understands, and passes over the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

KINDS = {"c": "count", "g": "gauge", "d": "distribution", "h": "distribution", "ms": "distribution"}


@dataclass(frozen=True)
class Sample:
    """One line: a metric, and as many values as were packed into it."""

    name: str
    kind: str
    values: tuple[float, ...]
    tags: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0  # how many values each stands for, if the client sampled


@dataclass(frozen=True)
class Event:
    title: str
    text: str
    tags: dict[str, str] = field(default_factory=dict)


def parse(datagram: bytes) -> Iterator[Sample | Event]:
    for line in datagram.decode(errors="replace").split("\n"):
        try:
            if line.startswith("_e{"):
                yield _event(line)
            elif line and not line.startswith("_sc|"):
                yield _sample(line)
        except (ValueError, KeyError, ZeroDivisionError):
            continue


def _sample(line: str) -> Sample:
    """`name:1:2:3|d|@0.5|#key:value,key:value|c:container|T1700000000`"""
    head, kind, *rest = line.split("|")
    name, *values = head.split(":")
    if not name or not values:
        raise ValueError(line)
    weight = next((1 / float(part[1:]) for part in rest if part.startswith("@")), 1.0)
    return Sample(name, KINDS[kind], tuple(map(float, values)), _tags(rest), weight)


def _event(line: str) -> Event:
    """`_e{5,7}:title|what is|#key:value`: the numbers are the bytes of title and text."""
    lengths, _, body = line.partition("}:")
    title_bytes, text_bytes = map(int, lengths.removeprefix("_e{").split(","))
    content = body.encode()
    text_end = title_bytes + 1 + text_bytes
    text = content[title_bytes + 1 : text_end].decode().replace("\\n", "\n")
    return Event(
        content[:title_bytes].decode(), text, _tags(content[text_end:].decode().split("|"))
    )


def _tags(parts: list[str]) -> dict[str, str]:
    listed = next((part[1:] for part in parts if part.startswith("#")), "")
    pairs = (tag.partition(":") for tag in listed.split(",") if tag)
    return {key: value for key, _, value in pairs}
