"""Azure's pipelines without Azure: which make lines run on an occasion, with which environment.

What is checked so: conditions, parameters, variables, macros, names of what is configured once. Not
checked: what Azure's own tasks do. The make lines run in bash, with a recording make.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from conditions import evaluate
from steps import Mistake, Step

# What docs/ci.md has people configure once.
GROUPS = {
    "staging": {"STORE": "az://models/x", "STAGING_URL": "http://staging.example.com"},
    "production": {"STORE": "az://models/x"},
    "drift": {"DD_SITE": "datadoghq.eu", "RETRAIN_URL": "https://dev.azure.com/x"},
}
SECRETS = {"drift": ("DD_API_KEY", "DD_APP_KEY", "RETRAIN_TOKEN")}
FILES = ("kubeconfig-staging", "kubeconfig-production")
CONNECTIONS = ("registry",)
ENVIRONMENTS = ("staging", "production")
POOL = "Default"
KINDS = ("checkout", "download", "publish", "script", "task")
BUILT_IN = {
    "Build.BuildId": "7",
    "Build.SourcesDirectory": ".",
    "Pipeline.Workspace": "/agent/1",
    "System.CollectionUri": "https://dev.azure.com/acme/",
    "System.TeamProject": "models",
}
# Scripts that tell Azure something, and are no make lines.
NEWS = re.compile(
    r"test -s report/image\.txt \|\| "
    r'echo "##vso\[task\.setvariable variable=(\w+);isOutput=true\]no"'
)
ANNOUNCEMENT = re.compile(r'echo "##vso\[task\.uploadsummary\]\$PWD/report/(summary|drift)\.md"')


@dataclass
class Start:
    """How a run is started: what Azure says of it, and what a person typed."""

    reason: str
    branch: str = "refs/heads/main"
    parameters: dict[str, str] = field(default_factory=dict)
    changed: str = "model.py"
    new: bool = True  # whether it pushes an image that production does not run already


def starts(path: Path, start: Start) -> bool:
    """Return whether Azure would start this pipeline, if not a person or a request does."""
    pipeline = yaml.safe_load(path.read_text())
    branch = start.branch.removeprefix("refs/heads/")
    match start.reason:
        case "IndividualCI":
            trigger = pipeline["trigger"]
            if trigger == "none":
                return False
            excluded = trigger.get("paths", {}).get("exclude", [])
            left_out = any(fnmatch.fnmatch(start.changed, pattern) for pattern in excluded)
            return branch in trigger["branches"]["include"] and not left_out
        case "PullRequest":
            return pipeline["pr"] != "none" and "main" in pipeline["pr"]
        case "Schedule":
            return any(branch in each["branches"]["include"] for each in pipeline["schedules"])
    return True


def steps(path: Path, start: Start) -> list[Step]:
    """Return the make lines that run; raises Mistake."""
    pipeline = yaml.safe_load(path.read_text())
    pipeline = _filled(pipeline, _parameters(pipeline, start))
    if pipeline["pool"] != POOL:
        raise Mistake(f"no pool {pipeline['pool']}")
    facts = {"variables['Build.Reason']": start.reason}
    facts["variables['Build.SourceBranch']"] = start.branch
    found: list[Step] = []
    published: list[str] = []
    before = ""
    for stage in pipeline["stages"]:
        name = stage["stage"]
        for needed in _list(stage.get("dependsOn", before)):
            if f"dependencies.{needed}.result" not in facts:
                raise Mistake(f"stage {name} waits for {needed}")
        runs = evaluate(stage.get("condition", "true"), facts)
        facts[f"dependencies.{name}.result"] = "Succeeded" if runs else "Skipped"
        before = name
        for job in stage["jobs"]:
            found += _job(job, pipeline, stage, published) if runs else []
            for step in _steps(job):
                if said := NEWS.fullmatch(step.get("script", "")):
                    output = f"{job['deployment']}.{job['deployment']}.{step['name']}.{said[1]}"
                    facts[f"dependencies.{name}.outputs['{output}']"] = "" if start.new else "no"
    return found


def _job(job: Any, pipeline: Any, stage: Any, published: list[str]) -> list[Step]:
    place = job.get("environment", "")
    if place and place not in ENVIRONMENTS:
        raise Mistake(f"no environment {place}")
    known, shown = dict(BUILT_IN), dict[str, str]()
    for item in [item for part in (pipeline, stage, job) for item in _variables(part)]:
        if "group" not in item:
            shown[item["name"]] = _macros(item["value"], known | shown)
        elif item["group"] not in GROUPS:
            raise Mistake(f"no group {item['group']}")
        else:
            shown |= GROUPS[item["group"]]
            # A script sees secrets only if it is given them by name.
            known |= {key: f"secret {key}" for key in SECRETS.get(item["group"], ())}
    listed = _steps(job)
    if listed[0].get("clean") != "true":
        raise Mistake(f"{place}: an agent keeps what the run before left, such as its artifact")
    found = []
    for step in listed:
        if next(iter(step)) not in KINDS:
            raise Mistake(f"Azure wants what a step is as its first key: {step}")
        if not evaluate(step.get("condition", "succeeded()"), {}):
            continue
        if "task" in step:
            known |= _task(step, published)
        elif "publish" in step:
            # Nothing that was published is replaced, not even by the same stage, run again.
            if "always()" in step.get("condition", "") and "JobAttempt" not in step["artifact"]:
                raise Mistake(f"a second attempt cannot publish {step['artifact']}")
            published.append(step["artifact"])
        elif "script" in step and not any(
            said.fullmatch(step["script"]) for said in (ANNOUNCEMENT, NEWS)
        ):
            given = {key: _macros(value, known | shown) for key, value in _env(step).items()}
            script = _macros(step["script"], known | shown)
            found.append(Step(script, shown | given, waits=place == "production"))
    return found


def _task(step: Any, published: list[str]) -> dict[str, str]:
    """Return the variables that a task sets; raises Mistake for what is not configured."""
    inputs = step["inputs"]
    match step["task"]:
        case "DownloadSecureFile@1":
            if inputs["secureFile"] not in FILES:
                raise Mistake(f"no secure file {inputs['secureFile']}")
            return {f"{step['name']}.secureFilePath": f"/agent/{inputs['secureFile']}"}
        case "DownloadPipelineArtifact@2":
            if inputs["artifactName"] not in published or not inputs["targetPath"].endswith(
                "/report"
            ):
                raise Mistake(f"no artifact {inputs['artifactName']} at {inputs['targetPath']}")
        case "Docker@2":
            if inputs["containerRegistry"] not in CONNECTIONS or inputs["command"] != "login":
                raise Mistake(f"no service connection {inputs['containerRegistry']}")
        case "Cache@2":
            pass
        case task:
            raise Mistake(f"no task {task}")
    return {}


def _steps(job: Any) -> list[Any]:
    found = job["strategy"]["runOnce"]["deploy"]["steps"] if "deployment" in job else job["steps"]
    return list(found)


def _variables(part: Any) -> list[dict[str, str]]:
    found = part.get("variables", [])
    if isinstance(found, list):
        return found
    return [{"name": name, "value": value} for name, value in found.items()]


def _env(step: Any) -> dict[str, str]:
    return {key: str(value) for key, value in step.get("env", {}).items()}


def _list(names: Any) -> list[str]:
    return [names] if isinstance(names, str) and names else list(names)


def _parameters(pipeline: Any, start: Start) -> dict[str, str]:
    values = {item["name"]: item["default"] for item in pipeline.get("parameters", [])}
    allowed = {item["name"]: item.get("values") for item in pipeline.get("parameters", [])}
    for name, value in start.parameters.items():
        if name not in values or (allowed[name] and value not in allowed[name]):
            raise Mistake(f"nobody can ask for {name}={value}")
    return values | start.parameters


def _filled(part: Any, parameters: dict[str, str]) -> Any:
    """Return a part of a pipeline with its template expressions replaced, as Azure does first."""
    if isinstance(part, dict):
        return {key: _filled(value, parameters) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, parameters) for value in part]
    if not isinstance(part, str):
        return part

    def value(match: re.Match[str]) -> str:
        if match[1] not in parameters:
            raise Mistake(f"unknown: {match[0]}")
        return parameters[match[1]]

    filled = re.sub(r"\$\{\{ parameters\.(\w+) \}\}", value, part)
    if "${{" in part and "${{ parameters." not in part:
        raise Mistake(f"unknown: {part}")
    return filled


def _macros(text: str, known: dict[str, str]) -> str:
    """Return a text with its macros replaced. Azure leaves unknown ones as they are: a mistake."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise Mistake(f"unknown: {match[0]}")
        return known[match[1]]

    return re.sub(r"\$\(([\w.]+)\)", value, str(text))
