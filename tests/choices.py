"""Values of CodeBuild and CodePipeline that are none of those that AWS has.

CloudFormation's schemas say of most that they are text. AWS's own clients know which there are, and
of a few only the documentation does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.session import get_session

# By the operation that takes the values, the part of them that a template has.
OPERATIONS = {
    "Project": ("codebuild", "CreateProject", ()),
    "Triggers": ("codebuild", "CreateWebhook", ()),
    "Pipeline": ("codepipeline", "CreatePipeline", ("pipeline",)),
}
EVENTS = {f"PULL_REQUEST_{what}" for what in ("CREATED", "UPDATED", "REOPENED", "MERGED", "CLOSED")}
PROVIDERS = {"CodeStarSourceConnection", "CodeBuild", "StepFunctions", "Manual", "VariableCheck"}
DOCUMENTED = {
    "Operator": {"EQ", "NE", "CONTAINS", "MATCHES"},
    "OutputArtifactFormat": {"CODE_ZIP", "CODEBUILD_CLONE_REF"},
    "Pattern": EVENTS,
    "Provider": PROVIDERS,
}


def unknown(kind: str, properties: Any) -> list[str]:
    """Return the values that no client of AWS knows, of a resource's properties."""
    service, operation, path = OPERATIONS[kind]
    shape = get_session().get_service_model(service).operation_model(operation).input_shape
    for name in path:
        shape = shape.members[name]
    found = [*_enums(properties, shape), *_documented(properties)]
    return sorted({f"{kind}: {name} is {value}" for name, value in found})


def _enums(value: Any, shape: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if shape.type_name == "structure" and isinstance(value, dict):
        members = {key.lower(): member for key, member in shape.members.items()}
        for key, each in value.items():
            if key.lower() in members:
                yield from _enums(each, members[key.lower()], key)
    elif shape.type_name == "list" and isinstance(value, list):
        for each in value:
            yield from _enums(each, shape.member, name)
    elif isinstance(value, str) and getattr(shape, "enum", []) and value not in shape.enum:
        yield name, value


def _documented(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for each in value:
            yield from _documented(each)
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _documented(each)
            # A branch is a pattern too.
            if key in DOCUMENTED and value.get("Type", "EVENT") == "EVENT":
                said = {word.strip() for word in each.split(",")}
                yield from ((key, word) for word in said - DOCUMENTED[key])
