"""Where runs, checkpoints, models and deployments are kept: a folder, S3, Azure or Google Cloud.

Whatever is written is written once: no object is ever replaced, so whoever reads one while another
run writes, or after a crash, finds it whole or not at all. Whatever is read is hashed first.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, from_url

RETRY_SECONDS = 60
METADATA = "169.254.169.254"  # whom clouds' clients ask for credentials when nothing else has any
NOT_FOUND = "404 Not Found"  # when listing: there is no bucket; a folder without objects is empty
# User and password, host and path, query. A password may be unquoted: all but blanks is in it.
ADDRESS = re.compile(r"""(://)(?:\S*:\S*@|[^/\s]*@)?([^\s?"')]*)(?:\?[^\s"')]*)?""")
HASH = "sha256"  # the field of a record that holds the hash of the others

Record = TypeVar("Record", bound=msgspec.Struct)


class StoreError(Exception):
    """The store does not answer as it should; later it may."""


class StoreMisused(Exception):
    """The store's address or the rights to it are wrong."""


class Corrupt(Exception):
    """An object is there, but not as it was written; `path` says which."""

    def __init__(self, path: str, why: str = "not as it was written") -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class Store:
    """Objects by path, each written once. All methods raise StoreError and StoreMisused.

    `url` is for people: the address without what may be secret in it.
    """

    def __init__(self, url: str) -> None:
        """`url`: a folder, or s3://bucket/prefix, az://account/container/prefix, gs://bucket/prefix.

        Credentials, region and endpoint are those that the cloud's own variables say.
        """
        self.url = _public(url)
        with _said():
            self._store = _open(url)

    def put(self, path: str, content: bytes | bytearray) -> bool:
        """Write an object; return False if another is there, which stays.

        Finding the same content there is success: an answer that was lost made us write it twice.
        """
        with _said():
            try:
                obstore.put(self._store, path, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return bytes(obstore.get(self._store, path).bytes()) == content
        return True

    def get(self, path: str) -> memoryview | None:
        """Return an object's content as it is now; None if there is none."""
        with _said():
            try:
                return memoryview(obstore.get(self._store, path).bytes())
            except FileNotFoundError:
                return None

    def get_hashed(self, path: str, sha256: str) -> memoryview:
        """Return an object's content; raises Corrupt if it is missing or was altered."""
        content = self.get(path)
        if content is None or hashlib.sha256(content).hexdigest() != sha256:
            raise Corrupt(path)
        return content

    def paths(self, prefix: str) -> list[str]:
        """Return the sorted paths of all objects in a folder, and in those within."""
        with _said():
            return sorted(
                item["path"] for page in obstore.list(self._store, prefix) for item in page
            )

    def folders(self, prefix: str) -> list[str]:
        """Return the sorted names of the folders in a folder."""
        with _said():
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return sorted(path.rpartition("/")[2] for path in found)

    def put_record(self, path: str, record: msgspec.Struct) -> bool:
        """Write a record as JSON that holds its own hash; return False if another is there."""
        found = msgspec.to_builtins(record)
        content = msgspec.json.encode(found | {HASH: _digest(found)})
        return self.put(path, msgspec.json.format(content, indent=1) + b"\n")

    def get_record(self, path: str, kind: type[Record]) -> Record | None:
        """Return a record; None if there is none. Raises Corrupt for one that was altered."""
        content = self.get(path)
        if content is None:
            return None
        try:
            found = msgspec.json.decode(content, type=dict[str, Any])
            if found.pop(HASH, "") == _digest(found):
                return msgspec.convert(found, kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        raise Corrupt(path)


def _digest(record: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(record, order="sorted")).hexdigest()


def _open(url: str) -> Any:
    if "://" not in url:
        folder = Path(url).expanduser().absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # a file is there, or above it, or the disk is read-only
            raise StoreMisused(f"STORE={url}: {error.strerror}; name another folder") from None
        return LocalStore(folder)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    return from_url(
        url,
        client_options={"allow_http": endpoint.startswith("http://")},
        retry_config={"retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    )


@contextmanager
def _said() -> Iterator[None]:
    """Say in one line what a store does not do; obstore says it in twenty."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise StoreMisused(f"the store does not let us: {_line(error)}") from None
    except (BaseError, OSError, ValueError) as error:
        line = _line(error)
        if METADATA in line:
            line = "no credentials: set the cloud's variables, or run with a role"
        elif isinstance(error, FileNotFoundError) or NOT_FOUND in line:
            line = "there is no such bucket; make it, or mend the address"
        elif not isinstance(error, ValueError) and "URL" not in line:
            raise StoreError(f"the store: {line}") from None
        raise StoreMisused(f"STORE: {line}") from None


def _line(error: Exception) -> str:
    return _public(str(error).strip().partition("\n")[0])[:300]


def _public(text: str) -> str:
    """Return a text, its addresses without user, password and query."""
    return ADDRESS.sub(r"\1\2", text)
