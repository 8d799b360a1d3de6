"""The strict DogStatsD server that telemetry is judged by: what it takes, what it refuses."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from dogstatsd import Event, Malformed, Receiver, Sample, parse, parse_line
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z]{1,8}(\.[a-z_]{1,9})?", fullmatch=True)
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
TAGS = st.dictionaries(
    st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True),
    st.text("abcXYZ019_-./:é", min_size=1, max_size=40),
    max_size=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "c:": st.sampled_from(["ci-0123456789abcdef", "in-4026531835"]),
        "e:": st.just("it-false,cn-service,pu-810fe89d"),
        "card:": st.sampled_from(["none", "low", "orchestrator", "high"]),
    },
)


def line(sample: Sample) -> bytes:
    parts = [":".join([sample.name, *map(repr, sample.values)]), sample.kind]
    parts += ["#" + ",".join(f"{k}:{v}" for k, v in sample.tags.items())] if sample.tags else []
    return "|".join(parts + [prefix + value for prefix, value in sample.fields.items()]).encode()


SAMPLES = st.builds(
    Sample,
    NAMES,
    st.sampled_from("cgd"),
    st.lists(NUMBERS.map(float), min_size=1, max_size=5).map(tuple),
    TAGS,
    FIELDS,
)


@given(st.lists(SAMPLES, min_size=1, max_size=5), st.booleans())
def test_what_is_written_is_read(samples: list[Sample], ends: bool) -> None:
    assert parse(b"\n".join(map(line, samples)) + b"\n" * ends) == samples


@given(SAMPLES, st.sampled_from("\n\r\t \0\"'{}@\u2028"), st.data())
def test_no_stray_character_goes_unseen(sample: Sample, stray: str, data: st.DataObject) -> None:
    text = line(sample).decode()
    position = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(Malformed):
        parse((text[:position] + stray + text[position:]).encode())


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_anything_else_is_malformed(datagram: bytes) -> None:
    try:
        parse(datagram)
    except Malformed:
        pass


@pytest.mark.parametrize(
    "refused",
    [
        "",
        "\n",
        "a:1|c\n\n",
        "a:1|c\n\nb:1|c",
        "a|c",
        "a:|c",
        "a:1",
        "a:1|",
        "a:1|h",
        "a:1|ms",
        "a:1|s",
        "a:1|x",
        "a:nan|g",
        "a:inf|g",
        "a:+1|g",
        "a:1 |c",
        "a:1,2|d",
        "1a:1|c",
        "a-b:1|c",
        "a:1|c|",
        "a:1|c|#",
        "a:1|c|#x",
        "a:1|c|#x:",
        "a:1|c|#:x",
        "a:1|c|#x:1,",
        "a:1|c|#x:1,x:2",
        "a:1|c|#x:1|#y:1",
        "a:1|c|#x:a b",
        "a:1|c|#x:" + "a" * 199,
        "a:1|c|@0",
        "a:1|c|@2",
        "a:1|g|@0.5",
        "a:1|d|T1700000000",
        "a:1|c|T17",
        "a:1|c|c:abc",
        "a:1|c|card:all",
        "a:1|c|z:1",
        "a:1|d\r",
        "_sc|a|0",
        "_e{0,1}:|b",
        "_e{1,1}:a|",
        "_e{1,1}:ab",
        "_e{1,1}:a|bc",
        "_e{1,1}:a|b|",
        "_e{1,1}:é|b",
        "_e{1,1}:a|b|t:bad",
    ],
)
def test_refused(refused: str) -> None:
    with pytest.raises(Malformed):
        parse(refused.encode())


def test_everything_there_is() -> None:
    full = b"a.b_c:1:2.5:-3e-05|d|@0.5|#env:prod,class:none|c:ci-00ff|e:it-1|card:low"
    assert parse_line(full) == Sample(
        "a.b_c",
        "d",
        (1, 2.5, -3e-05),
        {"env": "prod", "class": "none"},
        {"@": "0.5", "c:": "ci-00ff", "e:": "it-1", "card:": "low"},
    )
    assert parse_line(b"a:1|c|T1700000000") == Sample("a", "c", (1,), {}, {"T": "1700000000"})
    assert parse_line("_e{3,4}:né|a\\nb|d:1700000000|t:info|#x:y|c:in-1".encode()) == Event(
        "né", "a\\nb", {"x": "y"}, {"d:": "1700000000", "t:": "info", "c:": "in-1"}
    )
    with pytest.raises(Malformed):
        parse(b"a:1|c\n" * 1366)


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_receiver_takes_all_and_comes_back_on_its_address(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "dsd.socket" if kind == "unix" else None

    def send(*datagrams: bytes) -> None:
        family = socket.AF_UNIX if path else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.connect(str(path) if path else ("127.0.0.1", receiver.port))
            for datagram in datagrams:
                sender.send(datagram)

    with Receiver(path) as receiver:
        send(*[b"a:1|c\nb:1:2|d|#x:y"] * 300)
        receiver.stop()
        with pytest.raises(OSError):
            send(b"lost:1|c")
            time.sleep(0.05)
            send(b"lost:1|c", b"lost:1|c")  # UDP says so only to the next
        receiver.start()
        send(b"a:1|c")
        receiver.wait(lambda: receiver.total("a") == 301)
        assert receiver.values("b", x="y") == [1, 2] * 300
        assert not receiver.values("b", x="z") and not receiver.values("lost")
        send(b"nonsense")
        with pytest.raises(Malformed):
            receiver.wait(lambda: receiver.total("a") == 302)
