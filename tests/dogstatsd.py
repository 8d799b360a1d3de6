"""A strict DogStatsD server: whatever Datadog would not take as it was meant is an error."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# What the Agent reads at once; the rest of a longer datagram is lost.
MAX_DATAGRAM = 8192

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,199}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
# Datadog keeps these characters and 200 of them; all else it would store under another name.
_TAG = re.compile(r"[^\W\d_][\w./-]*:[\w:./-]+")
_EVENT = re.compile(rb"_e\{([0-9]+),([0-9]+)\}:")
# Fields by their prefix.
_COMMON = {
    "#": r".+",
    "c:": r"(ci-[0-9a-f]+|in-[0-9]+)",
    "e:": r"[\w.,:/-]+",
    "card:": r"(none|low|orchestrator|high)",
}
_OF_METRICS = _COMMON | {"@": r"(0\.[0-9]+|1(\.0)?)", "T": r"[0-9]{10}"}
_OF_EVENTS = _COMMON | {
    "d:": r"[0-9]{10}",
    "h:": r"[\w.-]+",
    "k:": r"[^|]{1,100}",
    "p:": r"(normal|low)",
    "s:": r"[^|]+",
    "t:": r"(error|warning|info|success)",
}


class Malformed(ValueError):
    """Not DogStatsD, or not as Datadog would understand it; the message quotes it."""


@dataclass(frozen=True)
class Sample:
    """One line: a metric's values that share their tags."""

    name: str
    kind: str
    values: tuple[float, ...]
    tags: dict[str, str]
    fields: dict[str, str] = field(default_factory=dict)  # the others, by prefix


@dataclass(frozen=True)
class Event:
    title: str
    text: str
    tags: dict[str, str]
    fields: dict[str, str] = field(default_factory=dict)


def parse(datagram: bytes) -> list[Sample | Event]:
    """Return what a datagram says; raises Malformed."""
    if len(datagram) > MAX_DATAGRAM:
        raise Malformed(f"{len(datagram)} bytes: {datagram[:200]!r}")
    return [parse_line(line) for line in datagram.removesuffix(b"\n").split(b"\n")]


def parse_line(line: bytes) -> Sample | Event:
    try:
        return _event(line) if line.startswith(b"_e{") else _sample(line.decode())
    except ValueError as error:
        raise Malformed(f"{error}: {line!r}") from None


def _sample(line: str) -> Sample:
    head, *sections = line.split("|")
    name, *texts = head.split(":")
    kind = sections.pop(0) if sections else ""
    if not _NAME.fullmatch(name):
        raise Malformed("no name")
    if kind not in ("c", "g", "d"):
        raise Malformed("no type that we use")
    if not texts or not all(_NUMBER.fullmatch(text) for text in texts):
        raise Malformed("no value, or one that is no number")
    tags, fields = _fields(sections, _OF_METRICS)
    if (kind == "g" and "@" in fields) or (kind == "d" and "T" in fields):
        raise Malformed("a field that this type does not have")
    return Sample(name, kind, tuple(map(float, texts)), tags, fields)


def _event(line: bytes) -> Event:
    match = _EVENT.match(line)
    if not match:
        raise Malformed("no lengths")
    title_end = match.end() + int(match[1])  # of the UTF-8
    text_end = title_end + 1 + int(match[2])
    if len(line) < text_end or line[title_end : title_end + 1] != b"|" or title_end == match.end():
        raise Malformed("lengths that are wrong")
    title, text = line[match.end() : title_end].decode(), line[title_end + 1 : text_end].decode()
    if rest := line[text_end:].decode():
        if rest[0] != "|":
            raise Malformed("lengths that are wrong")
        return Event(title, text, *_fields(rest[1:].split("|"), _OF_EVENTS))
    return Event(title, text, {})


def _fields(sections: list[str], known: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the tags, and the other fields by their prefix."""
    fields: dict[str, str] = {}
    for section in sections:
        prefix = next((p for p in known if section.startswith(p)), "")
        content = section.removeprefix(prefix)
        if not prefix or prefix in fields or not re.fullmatch(known[prefix], content):
            raise Malformed(f"field {section!r}")
        fields[prefix] = content
    tags: dict[str, str] = {}
    for tag in fields.pop("#").split(",") if "#" in fields else ():
        key, _, value = tag.partition(":")
        if not _TAG.fullmatch(tag) or len(tag) > 200 or key in tags:
            raise Malformed(f"tag {tag!r}")
        tags[key] = value
    return tags, fields


class Receiver:
    """Listens on a UDP port or a Unix datagram socket, in a thread; may be stopped and restarted.

    Use it as a context manager. What came before a restart is kept.
    """

    def __init__(self, path: Path | None = None, host: str = "127.0.0.1") -> None:
        """`path`: of a Unix socket; without it on a free UDP port of `host`."""
        self.path = path
        self.host = host
        self.port = 0
        self.datagrams: list[bytes] = []
        self._parsed: list[Sample | Event] = []
        self._seen = 0

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"unix://{self.path}" if self.path else f"udp://{self.host}:{self.port}"

    def start(self) -> None:
        if self.path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind(str(self.path))
        else:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
            self._socket.bind((self.host, self.port))
            self.port = self._socket.getsockname()[1]
        self._socket.settimeout(0.05)
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take what has arrived, then close, so that a sender finds nobody."""
        self._running = False
        self._thread.join()
        self._socket.close()
        if self.path:
            self.path.unlink()

    def _run(self) -> None:
        while True:
            try:
                # Only taken here, and parsed later: a Unix socket holds no more than ten.
                self.datagrams.append(self._socket.recv(2**16))
            except TimeoutError:
                if not self._running:
                    return

    @property
    def received(self) -> list[Sample | Event]:
        """All so far; raises Malformed."""
        while self._seen < len(self.datagrams):
            self._parsed += parse(self.datagrams[self._seen])
            self._seen += 1
        return list(self._parsed)

    @property
    def samples(self) -> list[Sample]:
        return [found for found in self.received if isinstance(found, Sample)]

    @property
    def events(self) -> list[Event]:
        return [found for found in self.received if isinstance(found, Event)]

    def clear(self) -> None:
        """Forget what came so far."""
        self._seen = len(self.datagrams)
        self._parsed.clear()

    def values(self, name: str, **tags: str) -> list[float]:
        """All values of a metric with these tags among its own."""
        return [
            value
            for sample in self.samples
            if sample.name == name and tags.items() <= sample.tags.items()
            for value in sample.values
        ]

    def total(self, name: str, **tags: str) -> float:
        return sum(self.values(name, **tags))

    def wait(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until a condition holds of what was received."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, sorted({s.name for s in self.samples})
            time.sleep(0.02)
