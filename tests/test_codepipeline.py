"""Delivery by CodePipeline: builds run as by CodeBuild, and which tool finds which mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cloud import BIN
from codepipeline import GIVEN, WALKED, Templates, problems, run
from harness import bake, edit
from occasions import CANDIDATE, CHECKS, NUMBER, OCCASIONS, Call, Recorder, differences

SERVICE = GIVEN["Service"]
APPROVER = "arn:aws:iam::123456789012:user/ann"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("codepipeline"), ci="aws")


class Build:
    """Runs the buildspec of a project, with what it would find around it."""

    def __init__(self, service: Path, folder: Path) -> None:
        self.folder = Path(shutil.copytree(service, folder / "source"))
        self.templates = Templates(self.folder)
        self.recorder = Recorder(folder)
        (self.recorder.bin / "aws").write_text(f"#!/bin/sh\necho {APPROVER}\n")
        (self.recorder.bin / "aws").chmod(0o755)
        (self.recorder.bin / "python").symlink_to(sys.executable)
        (folder / "handed" / "report").mkdir(parents=True)
        (folder / "handed" / "report" / "verdict.json").touch()
        self._handed = str(folder / "handed")

    def __call__(self, project: str, name: str = "", **given: str) -> tuple[list[Call], str]:
        """Return what was called, and what was exported."""
        name = name or self.templates.projects[project]["Source"]["BuildSpec"]
        spec = yaml.safe_load((self.folder / name).read_text())
        seen = self.templates.environment(project, spec) | given
        for key in seen:
            if key.startswith("CODEBUILD_SRC_DIR_"):
                seen[key] = self._handed
        said = run(spec, self.folder, self.recorder.bin, seen)
        return self.recorder.calls(), said


@pytest.fixture
def build(service: Path, tmp_path: Path) -> Build:
    return Build(service, tmp_path)


def test_a_request_for_a_merge(build: Build) -> None:
    made, _ = build(f"{SERVICE}-check")
    assert not differences(made, OCCASIONS["request"].calls, secrets=False)


def test_main(build: Build) -> None:
    """The state machine is what retrains here, and `make train` installs what came of it."""
    made, said = build(f"{SERVICE}-build")
    assert not differences(made, [*CHECKS, Call("train-image"), Call("push")])
    done = subprocess.run(
        [sys.executable, "-c", "from tools.deploy.tags import train; print(train())"],
        cwd=build.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said == f"TRAIN={done.stdout}"
    made, said = build(f"{SERVICE}-staging")
    assert said.endswith(f"IMAGE=image 1a2b-3c4d@sha256:{64 * '0'}\n")
    main = OCCASIONS["main"]
    after = main.calls[[call.goal for call in main.calls].index("retrain") + 1 :]
    run_name = "codepipeline-#{codepipeline.PipelineExecutionId}"
    assert not differences(made, [Call("train", {"RUN": run_name}), *after])
    shutil.rmtree(build.folder / "report")
    made, _ = build(f"{SERVICE}-production")
    assert not differences(made, main.approved)
    assert {call.values["APPROVER"] for call in made} == {APPROVER}
    assert (build.folder / "report" / "verdict.json").exists()


def test_other_occasions(build: Build) -> None:
    made, _ = build(f"{SERVICE}-drift", DD_API_KEY="key")
    assert not differences(made, OCCASIONS["schedule"].calls)
    by = {"CODEBUILD_INITIATOR": "ann"}
    made, _ = build(f"{SERVICE}-operate", ENV="production", NUMBER=NUMBER, **by)
    assert not differences(made, OCCASIONS["rollback"].calls)
    assert made[0].values["COMMIT"] == "push" and made[0].values["APPROVER"] == "ann"
    shadow = {"ENV": "staging", "CANDIDATE": CANDIDATE}
    made, _ = build(f"{SERVICE}-operate", "buildspec/shadow.yml", **shadow, **by)
    assert not differences(made, OCCASIONS["shadow"].calls)


# Mistakes


def cfn_lint(*files: Path) -> str:
    options = ("--include-checks", "I", "--format", "parseable", "--")
    command = [str(BIN / "cfn-lint"), *options, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode or not done.stdout
    return done.stdout + done.stderr


def stated(service: Path, folder: Path) -> str:
    """Return what statelint says of the state machine, with names put in."""
    template = Templates(service)
    told = template.of("StateMachine")["StateMachine"]
    text = json.dumps(told["Definition"])
    for name, value in told["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", value)
    (folder / "machine.json").write_text(text)
    command = [BIN / "statelint", folder / "machine.json"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_no_tool_finds_anything(service: Path, tmp_path: Path) -> None:
    assert not cfn_lint(*(service / "infra" / "aws").rglob("*.yaml"))
    assert not stated(service, tmp_path)
    assert not problems(service)


# A mistake in a file, and who finds it: cfn-lint, statelint, or what compares the files (ours). Of
# those that nobody finds here, test_aws.py finds all by walking but the first.
PIPELINE = "infra/aws/codepipeline/pipeline.yaml"
TRAINING = "infra/aws/codepipeline/training.yaml"
BUILDS, ROLES = "infra/aws/codepipeline/builds.yaml", "infra/aws/codepipeline/roles.yaml"
MISTAKES = [
    (PIPELINE, "InputArtifacts: [{Name: Source}, ", "InputArtifacts: [{Name: Sauce}, ", "cfn-lint"),
    (PIPELINE, "OutputArtifacts: [{Name: Staged}]", "OutputArtifacts: [{Name: Stage}]", "cfn-lint"),
    (PIPELINE, "StateMachineArn: !Sub", "StateMachine: !Sub", "ours"),
    (PIPELINE, "FullRepositoryId:", "RepositoryId:", "ours"),
    (PIPELINE, "Provider: StepFunctions", "Provider: StepFunction", "ours"),
    (PIPELINE, "#{Build.TRAIN}", "#{Build.TAG}", "ours"),
    (PIPELINE, '#{Staging.IMAGE}", Op', '#{Staging.TAG}", Op', "ours"),
    (PIPELINE, '"${Service}-staging"\n', '"${Service}-stage"\n', "ours"),
    (PIPELINE, "PrimarySource: Source", "PrimarySources: Source", "ours"),
    (PIPELINE, "PipelineType: V2", "PipelineType: V3", "cfn-lint, ours"),
    (PIPELINE, "Name: Production\n", "Nmae: Production\n", "cfn-lint"),
    (PIPELINE, "AWS::Scheduler::Schedule", "AWS::Events::Schedule", "cfn-lint"),
    (PIPELINE, "Operator: CONTAINS", "Operator: CONTAIN", "ours"),
    (PIPELINE, "Provider: VariableCheck", "Provider: VariablesCheck", "ours"),
    (PIPELINE, "Result: SKIP", "Result: SKIPP", "ours"),
    (PIPELINE, "CODEBUILD_CLONE_REF", "CLONE_REF", "ours"),
    (PIPELINE, 'Mode: "OFF"', 'Mode: "NONE"', "cfn-lint"),
    (TRAINING, "Next: Judged", "Next: Judge", "statelint"),
    (TRAINING, "Type: Choice", "Type: Chose", "cfn-lint, statelint"),
    (TRAINING, "Default: NotTrained", "Defualt: NotTrained", "cfn-lint, statelint"),
    (
        TRAINING,
        "ErrorEquals: [States.TaskFailed], Next",
        "ErrorEqual: [], Next",
        "cfn-lint, statelint",
    ),
    (TRAINING, "StringEquals: good", "StringEqual: good", "cfn-lint, statelint"),
    (TRAINING, "CausePath: $.reason", "CausePath: reason", "statelint"),
    (TRAINING, "JobDefinition.$: $.batch", "JobDefinition.$: batch", "statelint"),
    (TRAINING, "States.Format('{}:{}'", "States.Fromat('{}:{}'", "statelint"),
    (TRAINING, "JobName:", "Jobname:", ""),
    *((TRAINING, right, wrong, "") for right, wrong in WALKED),
    (TRAINING, '"${Service}:Queue"', '"${Service}:Queues"', "ours"),
    (BUILDS, "PrivilegedMode: true", "PrivilegedMode: please", "cfn-lint"),
    (BUILDS, "PULL_REQUEST_CREATED,", "PULL_REQUESTS_CREATED,", "ours"),
    (BUILDS, "Type: SECRETS_MANAGER", "Type: SECRET_MANAGER", "ours"),
    (BUILDS, "Type: CODECONNECTIONS", "Type: CODECONNECTION", "ours"),
    (BUILDS, "FORK_PULL_REQUESTS", "FORKS", "ours"),
    (BUILDS, "TimeoutInMinutes: 15", "TimeoutMinutes: 15", "cfn-lint"),
    (BUILDS, "BuildSpec: buildspec/drift.yml", "BuildSpec: buildspec/dirft.yml", "ours"),
    (BUILDS, "{Name: CLUSTER,", "{Name: CLUSTR,", "ours"),
    (BUILDS, "!Ref DatadogSite", "!Ref DatadogHost", "cfn-lint"),
    (ROLES, "Effect: Allow", "Effect: Permit", "cfn-lint"),
    (ROLES, "s3:GetObjectVersion", "s3:GetObjectVerison", "cfn-lint"),
    (ROLES, "!GetAtt DriftRole.Arn", "!GetAtt DriftRole.ARN", "cfn-lint"),
    ("infra/aws/base.yaml", "Mutability: IMMUTABLE", "Mutability: FIXED", "cfn-lint"),
    ("infra/aws/base.yaml", "ObjectLockEnabled: true", "ObjectLock: true", "cfn-lint"),
    ("buildspec/staging.yml", "  build:\n", "  biuld:\n", "ours"),
    ("buildspec/build.yml", "exported-variables", "exported_variables", "ours"),
]


def test_who_finds_which_mistake(service: Path, tmp_path: Path) -> None:
    copies = []
    for number, (file, old, new, _) in enumerate(MISTAKES):
        copies.append(tmp_path / f"{number:02}")
        for name in ("infra", "buildspec"):
            shutil.copytree(service / name, copies[-1] / name)
        edit(copies[-1] / file, old, new)
    files = [copy / file for copy, (file, *_) in zip(copies, MISTAKES, strict=True)]
    lint = cfn_lint(*(path for path in files if path.suffix == ".yaml"))
    found = []
    for copy, (file, _, new, _) in zip(copies, MISTAKES, strict=True):
        tools = ["cfn-lint"] if str(copy) in lint else []
        tools += ["statelint"] if file == TRAINING and stated(copy, tmp_path) else []
        tools += ["ours"] if problems(copy) else []
        found.append((new, ", ".join(tools)))
    assert found == [(new, tools) for _, _, new, tools in MISTAKES]
