"""Python objects in the store: pickled in parts of a bounded size, each hashed before it is read.

Parts keep the memory low: of a frame of many gigabytes, one part at a time is in memory besides the
frame itself. A pickle runs code when it is loaded, so only what a record names is read, and no byte
of it before the hash of its part is right.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import msgspec

from pipeline.store import Corrupt, Store, StoreError, StoreMisused
from training.errors import in_one_line

PART_BYTES = 64 * 2**20


class Part(msgspec.Struct, frozen=True):
    path: str
    sha256: str


def write(store: Store, path: str, value: Any) -> list[Part]:
    """Write a value to objects `path`.0, `path`.1, ...; return what has to be known to read it."""
    writer = _Writer(store, path)
    pickle.dump(value, writer, protocol=5)
    writer.flush()
    return writer.parts


def read(store: Store, parts: list[Part]) -> Any:
    """Return the value in these parts; raises Corrupt for one that is missing or was altered.

    So it does for a value that this code cannot load: its classes may have changed since.
    """
    try:
        return pickle.load(_Reader(store, parts))
    except (StoreError, StoreMisused, Corrupt, MemoryError):
        raise
    except Exception as error:
        raise Corrupt(parts[0].path, f"this code cannot load it ({in_one_line(error)})") from error


class _Writer:
    """What `pickle.dump` writes to."""

    def __init__(self, store: Store, path: str) -> None:
        self.parts: list[Part] = []
        self._store, self._path = store, path
        self._buffer = bytearray()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PART_BYTES):
            self._buffer += view[start : start + PART_BYTES]
            if len(self._buffer) >= PART_BYTES:
                self.flush()
        return len(view)

    def flush(self) -> None:
        content, self._buffer = self._buffer, bytearray()
        path = f"{self._path}.{len(self.parts)}"
        self._store.put(path, content)
        digest = hashlib.sha256(content).hexdigest()
        self.parts.append(Part(path, digest))


class _Reader:
    """What `pickle.load` reads from."""

    def __init__(self, store: Store, parts: list[Part]) -> None:
        self._store, self._parts = store, iter(parts)
        self._view = memoryview(b"")

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        done = 0
        while done < len(into) and (self._view or self._next()):
            piece = self._view[: len(into) - done]
            into[done : done + len(piece)] = piece
            self._view = self._view[len(piece) :]
            done += len(piece)
        return done

    def read(self, size: int) -> bytes:
        found = bytearray(size)
        return bytes(found[: self.readinto(found)])

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return bytes(line)

    def _next(self) -> bool:
        part = next(self._parts, None)
        if part is None:
            return False
        self._view = self._store.get_hashed(part.path, part.sha256)
        return True
