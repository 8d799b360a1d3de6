"""What AWS would make of infra/aws and buildspec/: values resolved, builds run, mistakes found.

cfn-lint looks into each template alone, and into no buildspec. What only holds between them is
looked for here: names of projects, artifacts, variables and files that one says and another means.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from cfnlint.decode import decode
from choices import unknown

Json = dict[str, Any]
OF_CODEPIPELINE = ("roles", "training", "builds", "pipeline")
PARTS = ["base", "batch", *(f"codepipeline/{part}" for part in OF_CODEPIPELINE)]
# What a template gets in all tests. The rest of the parameters have defaults.
GIVEN = {
    "Service": "tumour-classifier",
    "Repository": "ml/tumour-classifier",
    "RepositoryId": "acme/tumours",
    "RepositoryUrl": "https://github.com/acme/tumours.git",
    "Connection": "arn:aws:codeconnections:eu-central-1:123456789012:connection/1a2b",
    "Cluster": "models",
    "StagingUrl": "http://staging.example.com",
    "DatadogSecret": "datadog",
}
# Parameters that mean the same in every template that has them: one list of values serves all.
SHARED = {"Service", "StorePrefix", "Connection", "Cluster", "Branch", "DatadogSecret"}
PSEUDO = {"AWS::Region": "eu-central-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
# What an action cannot do without, by its provider.
NEEDED = {
    "CodeStarSourceConnection": {"ConnectionArn", "FullRepositoryId", "BranchName"},
    "CodeBuild": {"ProjectName"},
    "StepFunctions": {"StateMachineArn", "Input"},
}
# Mistakes in the state machine that no linter finds.
WALKED = [
    ("registerJobDefinition", "registerJobDefintion"),
    ("$.JobDefinitions[0]", "$.JobDefinition[0]"),
    ("nothing new", "nothing-new"),
    ("runs/", "run/"),
]
SPEC_KEYS = {"version", "env", "phases", "artifacts", "cache"}
ENV_KEYS = {"shell", "variables", "exported-variables", "git-credential-helper"}
PHASES = ("install", "pre_build", "build", "post_build")
# Variables that CodeBuild sets by itself, or whoever starts a build by hand.
KNOWN = {"CODEBUILD_INITIATOR"}


class Templates:
    """The templates of a service, by their names, with what they refer to put in."""

    def __init__(self, service: Path) -> None:
        self.service = service
        self.raw = {part: read(service / "infra" / "aws" / f"{part}.yaml") for part in PARTS}
        self.resources = {
            (kind["Type"].rpartition(":")[2], name): self.resolved(kind.get("Properties", {}), part)
            for part, template in self.raw.items()
            for name, kind in template["Resources"].items()
        }

    def resolved(self, value: Any, part: str) -> Any:
        """Return a value with parameters in place of references; others become their names."""
        if isinstance(value, list):
            return [self.resolved(item, part) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((kind, told),) = value.items()
            if kind == "Ref":
                return self._named(told, part)
            if kind == "Fn::ImportValue":
                return f"<{self.resolved(told, part)}>"
            if kind == "Fn::GetAtt":
                return f"<{told if isinstance(told, str) else '.'.join(told)}>"
            if kind == "Fn::Sub":
                text, more = (told, {}) if isinstance(told, str) else told
                own = {key: self.resolved(item, part) for key, item in more.items()}
                named = re.compile(r"\$\{([\w:.]+)\}")
                return named.sub(lambda m: str(own.get(m[1]) or self._named(m[1], part)), text)
        return {key: self.resolved(item, part) for key, item in value.items()}

    def _named(self, name: str, part: str) -> str:
        parameter = self.raw[part].get("Parameters", {}).get(name, {})
        return str(PSEUDO.get(name) or GIVEN.get(name) or parameter.get("Default") or f"<{name}>")

    def of(self, kind: str) -> dict[str, Json]:
        return {name: found for (each, name), found in self.resources.items() if each == kind}

    @property
    def projects(self) -> dict[str, Json]:
        return {found["Name"]: found for found in self.of("Project").values()}

    @property
    def actions(self) -> list[Json]:
        return [
            action
            for stage in self.of("Pipeline")["Pipeline"]["Stages"]
            for action in stage["Actions"]
        ]

    def action_of(self, project: str) -> Json:
        """Return the action that starts a project; nothing if it is started otherwise."""
        found = (each for each in self.actions if project == _config(each).get("ProjectName"))
        return next(found, {})

    def environment(self, project: str, spec: Json) -> dict[str, str]:
        """Return what commands see: the buildspec's variables, the project's, the action's."""
        seen = {key: str(value) for key, value in spec["env"].get("variables", {}).items()}
        for each in self.projects[project]["Environment"].get("EnvironmentVariables", []):
            seen[each["Name"]] = each["Value"]
        for each in json.loads(_config(self.action_of(project)).get("EnvironmentVariables", "[]")):
            seen[each["name"]] = each["value"]
        for each in self.action_of(project).get("InputArtifacts", [])[1:]:
            seen[f"CODEBUILD_SRC_DIR_{each['Name']}"] = f"/handed/{each['Name']}"
        return seen


def read(path: Path) -> Json:
    """Return a template with its short forms written out."""
    found, problems = decode(str(path))
    assert found and not problems, problems
    plain: Json = json.loads(json.dumps(found, default=str))
    return plain


def _config(action: Json) -> Json:
    found: Json = action.get("Configuration", {})
    return found


def commands(spec: Json) -> list[str]:
    return [
        command for phase in PHASES for command in spec["phases"].get(phase, {}).get("commands", ())
    ]


def run(spec: Json, folder: Path, bin: Path, environment: dict[str, str]) -> str:
    """Run a buildspec's commands as CodeBuild does, in one bash; return what it exports."""
    exported = [f'echo "{name}=${name}"' for name in spec["env"].get("exported-variables", ())]
    script = "\n".join(["set -e", *commands(spec), *exported])
    env = {"PATH": f"{bin}:{os.environ['PATH']}", "HOME": str(bin)} | environment
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def problems(service: Path) -> list[str]:
    """Return what is wrong between the templates and the buildspecs."""
    templates = Templates(service)
    found = _exports(templates)
    specs = {path: yaml.safe_load(path.read_text()) for path in (service / "buildspec").iterdir()}
    for path, spec in specs.items():
        found += [f"{path.name}: no key {key}" for key in spec.keys() - SPEC_KEYS]
        found += [f"{path.name}: no key {key}" for key in spec["env"].keys() - ENV_KEYS]
        found += [f"{path.name}: no phase {key}" for key in spec["phases"].keys() - {*PHASES}]
    for name, project in templates.projects.items():
        path = service / project["Source"]["BuildSpec"]
        if path not in specs:
            found.append(f"{name}: there is no {path.name}")
            continue
        used = {each for line in commands(specs[path]) for each in re.findall(r"\$\{?(\w+)", line)}
        lacking = used - templates.environment(name, specs[path]).keys() - KNOWN
        found += [f"{name}: nothing sets {each}" for each in sorted(lacking)]
        found += unknown("Project", project) + unknown("Triggers", project.get("Triggers", {}))
    found += unknown("Pipeline", templates.of("Pipeline")["Pipeline"])
    return found + _parameters(templates) + _actions(templates) + _variables(templates, specs)


def _parameters(templates: Templates) -> list[str]:
    """Return the parameters that get the value of another one, whose name they have."""
    times = Counter(name for each in templates.raw.values() for name in each["Parameters"])
    twice = {name for name, count in times.items() if count > 1}
    return [f"two templates have a parameter {name}" for name in sorted(twice - SHARED)]


def _exports(templates: Templates) -> list[str]:
    """Return the names that one template imports and none exports."""
    exported = {
        templates.resolved(output["Export"]["Name"], part).replace("<AWS::StackName>", "*")
        for part, template in templates.raw.items()
        for output in template.get("Outputs", {}).values()
        if "Export" in output
    }
    exported = {name.replace("*", GIVEN["Service"]) for name in exported}
    text = json.dumps([*templates.resources.values()])
    imported = {*re.findall(rf"<({GIVEN['Service']}:\w+)>", text)}
    return [f"nothing exports {name}" for name in sorted(imported - exported)]


def _actions(templates: Templates) -> list[str]:
    """Return what actions lack, and what they name that is not there."""
    found = []
    machines = {each["StateMachineName"] for each in templates.of("StateMachine").values()}
    for action in templates.actions:
        config, name = _config(action), action["Name"]
        needed = NEEDED.get(action["ActionTypeId"]["Provider"], set())
        found += [f"{name}: no {key}" for key in sorted(needed - config.keys())]
        if len(action.get("InputArtifacts", [])) > 1 and "PrimarySource" not in config:
            found.append(f"{name}: no PrimarySource")
        if config.get("ProjectName", "") not in {"", *templates.projects}:
            found.append(f"{name}: no project {config['ProjectName']}")
        machine = config.get("StateMachineArn", "").rpartition(":")[2]
        if machine not in {"", *machines}:
            found.append(f"{name}: no state machine {machine}")
    return found


def _variables(templates: Templates, specs: dict[Path, Json]) -> list[str]:
    """Return the variables of the pipeline that are used and nothing sets."""
    pipeline = templates.of("Pipeline")["Pipeline"]
    known = {f"variables.{each['Name']}" for each in pipeline["Variables"]}
    known |= {"codepipeline.PipelineExecutionId", "codepipeline.PipelineName"}
    for action in templates.actions:
        project = templates.projects.get(_config(action).get("ProjectName", ""))
        if project and "Namespace" in action:
            spec = specs.get(templates.service / project["Source"]["BuildSpec"], {"env": {}})
            exported = spec["env"].get("exported-variables", ())
            known |= {f"{action['Namespace']}.{each}" for each in exported}
    used = {*re.findall(r"#\{([\w.]+)\}", json.dumps(pipeline))}
    return [f"nothing sets {each}" for each in sorted(used - known)]
