"""What every kind of object in Datadog has: how it is found again, checked and written.

What is sent goes through the client's typed models, strictly. What comes back is read as plain
JSON: the models would drop or refuse what Datadog has learnt since this client was made.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from datadog_api_client import ApiClient

from tools.datadog.definitions import marks
from tools.datadog.strict import typed

Json = dict[str, Any]


class Later(Exception):
    """Not yet possible, and no mistake; the message says when it will be."""


@dataclass(frozen=True)
class Held:
    """An object as Datadog holds it."""

    id: str
    body: Json


class Kind(ABC):
    """One kind of object. The methods that ask Datadog raise ApiException for what it refuses."""

    kind: ClassVar[str]
    api_class: ClassVar[type[Any]]
    model: ClassVar[type[Any]]  # of an object that is created

    def __init__(self, client: ApiClient, known: Mapping[str, Any]) -> None:
        """`known`: what placeholders stand for; it says whose objects are looked for."""
        self.client, self.known = client, known
        self.api: Any = self.api_class(client)

    @abstractmethod
    def held(self, names: Iterable[str]) -> dict[str, Held]:
        """Return the objects of these names, and those that carry our tags under other names."""

    @abstractmethod
    def create(self, name: str, body: Json) -> str:
        """Create the object and return its id. Raises Later if it has to wait."""

    @abstractmethod
    def update(self, name: str, id: str, body: Json) -> None:
        """Make the object of this id what the body says."""

    def check(self, name: str, body: Json) -> None:
        """Raise Invalid if Datadog would not understand the object."""
        self.made(self.model, name, body)

    def made(self, model: type[Any], name: str, body: Json) -> Any:
        """Return the body as the client's model; raises Invalid."""
        return typed(self.client, model, body, f"{self.kind} {name}")

    def ours(self, found: Iterable[Json], order: Callable[[Json], Any]) -> dict[str, Held]:
        """Return those that carry our tags, by name.

        Of several with one name it is the first in `order`, the oldest: copies that somebody made
        in Datadog have the tags of their original, and are theirs.
        """
        service, managed, prefix = marks(self.kind, "", self.known)
        ours: dict[str, Held] = {}
        for body in sorted(found, key=order, reverse=True):
            tags = body.get("tags") or []
            names = [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]
            if names and {service, managed} <= set(tags):
                ours[names[0]] = Held(str(body["id"]), body)
        return ours


def read(answer: Any) -> Any:
    """Return the JSON of an answer that the client was told not to make a model of."""
    return json.loads(answer.data)
