"""infra/aws in moto: what the stacks make, and how the state machine ends.

moto walks the state machine itself, with its own Batch and S3. It knows no CodePipeline, CodeBuild,
Scheduler and access entries in a template: for those see test_codepipeline.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cloud import Cloud, cloud
from codepipeline import GIVEN, PARTS, WALKED, read
from harness import bake
from occasions import DATA

Json = dict[str, Any]
SERVICE = GIVEN["Service"]
CONTEXT = "@@"
MACHINE = f"arn:aws:states:eu-central-1:123456789012:stateMachine:{SERVICE}-train"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/ml/tumour-classifier"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("aws"), ci="aws")


@dataclass
class Stacks:
    aws: Cloud
    exports: dict[str, str] = field(default_factory=dict)

    def deploy(self, file: Path, part: str) -> None:
        """Make a stack of a template, as far as moto can."""
        template = for_moto(read(file))
        given = GIVEN | (self._of_batch() if part == "batch" else {})
        parameters = [
            {"ParameterKey": key, "ParameterValue": given[key]}
            for key in template["Parameters"]
            if key in given
        ]
        name = SERVICE if part == "batch" else f"{SERVICE}-{part.rpartition('/')[2]}"
        self.aws.aws(
            *("cloudformation", "create-stack", "--stack-name", name),
            *("--template-body", json.dumps(template), "--parameters", json.dumps(parameters)),
        )

    def look(self) -> None:
        """Learn what the stacks export."""
        exports = self.aws.aws("cloudformation", "list-exports")["Exports"]
        self.exports = {each["Name"].rpartition(":")[2]: each["Value"] for each in exports}

    def _of_batch(self) -> dict[str, str]:
        self.look()
        subnets = self.aws.aws("ec2", "describe-subnets")["Subnets"]
        groups = self.aws.aws("ec2", "describe-security-groups")["SecurityGroups"]
        return {
            "Image": f"{IMAGE}:train-first",
            "StoreBucket": self.exports["Bucket"],
            "StorePrefix": self.exports["StorePrefix"],
            "Subnets": ",".join(each["SubnetId"] for each in subnets),
            "SecurityGroups": groups[0]["GroupId"],
        }


def for_moto(template: Json) -> Json:
    for resource in template["Resources"].values():
        told = resource.get("Properties", {})
        if resource["Type"].endswith("StateMachine"):
            values = told.pop("DefinitionSubstitutions")
            # moto knows this form only, and takes two dollars for one.
            text = json.dumps(told.pop("Definition")).replace("$$", CONTEXT)
            told["DefinitionString"] = {"Fn::Sub": [text, values]}
        if resource["Type"].endswith("ComputeEnvironment"):
            # AWS has a role of its own for it.
            told["ServiceRole"] = {"Fn::GetAtt": ["JobRole", "Arn"]}
        if resource["Type"].endswith("JobDefinition"):
            # moto would make an entry of what is none.
            wanted = told["ContainerProperties"]["ResourceRequirements"]
            wanted[:] = [each for each in wanted if "Fn::If" not in each]
    return template


def take_over(here: Cloud) -> None:
    """Have the state machine, as the stack made it, in the part of moto that walks it."""
    (made,) = here.aws("stepfunctions", "list-state-machines")["stateMachines"]
    named = ("--state-machine-arn", made["stateMachineArn"])
    told = here.aws("stepfunctions", "describe-state-machine", *named)
    here.set(stepfunctions={"execute_state_machine": True})
    values = ("--name", told["name"], "--role-arn", told["roleArn"])
    text = told["definition"].replace(CONTEXT, "$$")
    here.aws("stepfunctions", "create-state-machine", *values, "--definition", text)


@pytest.fixture(scope="module")
def here(
    request: pytest.FixtureRequest, service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stacks]:
    """A cloud with the stacks in it, whose jobs end as `request.param` says."""
    variables = {"MOTO_SIMPLE_BATCH_FAIL_AFTER": "0"} if request.param == "FAILED" else {}
    with cloud(tmp_path_factory.mktemp("cloud") / "log", **variables) as found:
        stacks = Stacks(found)
        for part in PARTS:
            stacks.deploy(service / "infra" / "aws" / f"{part}.yaml", part)
        stacks.look()
        take_over(found)
        yield stacks


@pytest.mark.parametrize("here", ["SUCCEEDED"], indirect=True, scope="module")
def test_what_the_stacks_make(here: Stacks) -> None:
    (images,) = here.aws.aws("ecr", "describe-repositories")["repositories"]
    assert images["repositoryName"] == GIVEN["Repository"]
    assert images["imageTagMutability"] == "IMMUTABLE"
    roles = here.aws.aws("iam", "list-roles")["Roles"]
    policies = [each["AssumeRolePolicyDocument"]["Statement"][0] for each in roles]
    trusted = sorted(each["Principal"]["Service"].partition(".")[0] for each in policies)
    others = ["codepipeline", "ecs-tasks", "ecs-tasks", "pods", "scheduler", "states"]
    assert trusted == ["codebuild"] * 5 + others
    assert all("aws:SourceAccount" in each["Condition"]["StringEquals"] for each in policies)


# How a job ends, what it leaves in the store, and the error that the state machine ends with.
OUTCOMES: dict[str, tuple[str, str, Json, str]] = {
    "good": ("SUCCEEDED", "verdict", {"status": "good", "reason": "No gate fails."}, ""),
    "undecided": ("SUCCEEDED", "verdict", {"status": "undecided", "reason": "Maybe."}, ""),
    "nothing-new": ("FAILED", "verdict", {"status": "nothing new", "reason": "As live."}, ""),
    "refused": ("FAILED", "verdict", {"status": "refused", "reason": "Worse."}, "NotTrained"),
    "failed": ("FAILED", "failed", {"reason": "column 'age' is gone"}, "NotTrained"),
    "killed": ("FAILED", "", {"reason": "without a word in the store"}, "NoVerdict"),
}
CASES = [(job, name) for name, (job, *_) in OUTCOMES.items()]


@pytest.mark.parametrize(("here", "outcome"), CASES, indirect=["here"], scope="module")
def test_the_state_machine_ends_with_the_verdict(
    here: Stacks, tmp_path: Path, outcome: str
) -> None:
    _, name, record, error = OUTCOMES[outcome]
    if name:
        put(here, tmp_path, f"{outcome}/{name}.json", record)
    ended = execute(here.aws, outcome, DATA)
    if error:
        assert (ended["status"], ended["error"]) == ("FAILED", error)
        assert record["reason"] in ended["cause"]
    else:
        assert ended["status"] == "SUCCEEDED", ended
        assert json.loads(ended["output"]) == record


@pytest.mark.parametrize("here", ["SUCCEEDED"], indirect=True, scope="module")
def test_what_a_job_is_told(here: Stacks, tmp_path: Path) -> None:
    """Its definition is that of the stack, but for the image."""
    for data, told in ((DATA, DATA), ("none", "")):
        run_name = f"told-{len(told)}"
        put(here, tmp_path, f"{run_name}/verdict.json", {"status": "good"})
        assert execute(here.aws, run_name, data)["status"] == "SUCCEEDED"
        assert any(each["RUN"] == run_name and each["DATA"] == told for each in jobs(here))
    listed = here.aws.aws("batch", "describe-job-definitions")["jobDefinitions"]
    by_number = sorted(listed, key=lambda each: int(each["revision"]))
    first, last = by_number[0], by_number[-1]
    for each, tag in ((first, "train-first"), (last, "train-1a2b3c4d")):
        assert each["containerProperties"]["image"] == f"{IMAGE}:{tag}"
    assert last["retryStrategy"] == first["retryStrategy"]
    assert last["timeout"] == first["timeout"]
    for name in ("jobRoleArn", "executionRoleArn", "user", "environment", "logConfiguration"):
        assert last["containerProperties"][name] == first["containerProperties"][name]


@pytest.mark.parametrize("here", ["SUCCEEDED"], indirect=True, scope="module")
@pytest.mark.parametrize(("right", "wrong"), WALKED)
def test_walking_finds_what_no_linter_does(
    here: Stacks, tmp_path: Path, right: str, wrong: str
) -> None:
    put(here, tmp_path, "walked/verdict.json", {"status": "nothing new"})
    told = here.aws.aws("stepfunctions", "describe-state-machine", "--state-machine-arn", MACHINE)
    assert right in told["definition"]
    values = ("--name", wrong.strip("/$[.]0"), "--role-arn", told["roleArn"], "--definition")
    text = told["definition"].replace(right, wrong)
    made = here.aws.aws("stepfunctions", "create-state-machine", *values, text)
    assert execute(here.aws, "walked", DATA, made["stateMachineArn"])["status"] == "FAILED"


def put(here: Stacks, folder: Path, name: str, record: Json) -> None:
    (folder / "record").write_text(json.dumps(record))
    where = ("--bucket", here.exports["Bucket"], "--key", f"store/runs/{name}")
    here.aws.aws("s3api", "put-object", *where, "--body", str(folder / "record"))


def execute(here: Cloud, run_name: str, data: str, machine: str = MACHINE) -> Json:
    """Start the state machine as the pipeline does; return how it ended."""
    given = {"data": data, "image": IMAGE, "tag": "train-1a2b3c4d", "run": run_name}
    start = ("--state-machine-arn", machine, "--name", run_name, "--input", json.dumps(given))
    arn = here.aws("stepfunctions", "start-execution", *start)["executionArn"]
    deadline = time.monotonic() + 60
    while True:
        found = here.aws("stepfunctions", "describe-execution", "--execution-arn", arn)
        if found["status"] != "RUNNING":
            return found
        assert time.monotonic() < deadline
        time.sleep(0.2)


def jobs(here: Stacks) -> list[dict[str, str]]:
    """Return the variables of each job."""
    queue = ("--job-queue", here.exports["Queue"], "--job-status", "SUCCEEDED")
    listed = [
        each["jobId"] for each in here.aws.aws("batch", "list-jobs", *queue)["jobSummaryList"]
    ]
    found = here.aws.aws("batch", "describe-jobs", "--jobs", *listed)["jobs"]
    return [
        {each["name"]: each["value"] for each in job["container"]["environment"]} for job in found
    ]
