"""Training elsewhere: the train image, AWS Batch, Kubernetes and Argo, as far as each is had here.

Real: podman, and the image's own exit codes; moto's S3, Batch and CloudFormation by AWS's command
line; cfn-lint; Argo's schema. There is no cluster and no Argo: the CronJob's pod is run by podman,
and the workflow's steps one after the other, with the values that Argo would put in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from cloud import BIN, Cloud, cloud
from harness import PYTHON, bake, extend_model, make
from images import build_options, engine, inspect, needed, podman
from test_manifests import KUBERNETES, checker

Json = dict[str, Any]
LIMITS = "--read-only --cap-drop all --security-opt no-new-privileges --memory 2g".split()
# Stops for good in the middle of a run, where a variable says so that no code depends on.
SLOW = """
_build = build


def build() -> Any:
    import os
    import time

    if os.environ.get("SLOW"):
        print("fitting", flush=True)
        time.sleep(600)
    return _build()
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("cloud") / "log") as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service whose training can be made to stop in the middle."""
    folder = bake(tmp_path_factory.mktemp("submit"))
    extend_model(folder, SLOW)
    return folder


@pytest.fixture(scope="module")
def image(service: Path) -> Iterator[str]:
    """The image that trains, as `make train-image` builds it."""
    engine()
    done = make(service, "train-image", f"ARGS={' '.join(build_options())}")
    assert done.returncode == 0, done.stdout + done.stderr
    name = re.search(r"^built (\S+)$", done.stdout, re.MULTILINE)
    assert name, done.stdout
    yield name[1]
    podman("untag", name[1])


def start(image: str, *command: str, **variables: str) -> str:
    """Start a container as Batch and Kubernetes do; return its id."""
    values = [f"--env={name}={value}" for name, value in variables.items()]
    options = ["--detach", "--network", "host", *LIMITS, *values]
    if command:
        options += ["--entrypoint", json.dumps(command)]
    return podman("run", *options, image).strip()


def ended(container: str) -> tuple[int, str]:
    """Return exit code and log of a container, once it has ended; it is removed."""
    code = int(podman("wait", container))
    done = subprocess.run(["podman", "logs", container], capture_output=True, text=True)
    podman("rm", container)
    return code, done.stdout + done.stderr


def test_a_batch_job_that_is_killed_goes_on_from_its_checkpoints(here: Cloud, image: str) -> None:
    bucket = here.bucket("killed")
    job = here.environment | {"STORE": f"s3://{bucket}/m", "AWS_BATCH_JOB_ID": "4c1e"}
    first = start(image, SLOW="1", **job)
    deadline = time.monotonic() + 120
    while "fitting" not in (said := podman("logs", first)):
        assert time.monotonic() < deadline and inspect(first)["State"]["Running"], said
        time.sleep(0.2)
    podman("kill", first)
    assert ended(first)[0] == 137
    assert not here.keys(bucket, "m/models/")
    code, said = ended(start(image, **job))
    assert code == 0, said
    for name in ("data", "validate"):
        assert re.search(rf"= {name} +from a checkpoint", said), said
    assert "run batch-4c1e, in s3://killed/m" in said
    found = json.loads(here.read(bucket, "m/runs/batch-4c1e/run.json"))
    assert found["status"] == "good" and found["image"] == image
    assert found["where"].endswith(" 4c1e")
    version = found["version"]
    kept = here.keys(bucket, f"m/models/{version}/")
    [record] = [key for key in kept if key.count("/") == 3]
    names = json.loads(here.read(bucket, record))["files"]
    assert len(kept) == len(names) + 1 and any("/model-" in key for key in kept)
    # The next job finds nothing to do.
    again = start(image, **here.environment, STORE=job["STORE"], AWS_BATCH_JOB_ID="5d2f")
    assert ended(again)[0] == 3


def test_a_job_of_an_array_has_a_store_to_itself(here: Cloud, image: str, tmp_path: Path) -> None:
    bucket = here.bucket("clients")
    (tmp_path / "list").write_text("acme\nglobex\n")
    path = f"datasets/{hashlib.sha256((tmp_path / 'list').read_bytes()).hexdigest()}.txt"
    put = ("s3api", "put-object", "--bucket", bucket, "--key", f"m/{path}")
    here.aws(*put, "--body", str(tmp_path / "list"))
    job = here.environment | {"STORE": f"s3://{bucket}/m", "DATASETS": path}
    job |= {"AWS_BATCH_JOB_ID": "4c1e:1", "AWS_BATCH_JOB_ARRAY_INDEX": "1"}
    code, said = ended(start(image, **job))
    assert code == 0, said
    runs = "m/globex/runs/batch-4c1e-1/"
    assert {f"{runs}run.json", f"{runs}report.html"} <= {*here.keys(bucket, "m/globex/")}
    assert not here.keys(bucket, "m/acme/")
    code, said = ended(start(image, **job | {"AWS_BATCH_JOB_ARRAY_INDEX": "2"}))
    assert code == 2 and f"not done: DATASETS={path}: it has no line for job 2" in said


# AWS Batch


def stack(service: Path, into: Path, gpus: bool) -> str:
    """Return the stack's template as a file that moto takes.

    It wants a role where AWS has one of its own, and makes entries of lists that are none.
    """
    text = (service / "infra" / "aws" / "batch.yaml").read_text()
    managed = "      Type: MANAGED\n"
    assert managed in text
    text = text.replace(managed, f"{managed}      ServiceRole: !GetAtt JobRole.Arn\n")
    lines = [line for line in text.splitlines() if gpus or "!If [WithGpus, " not in line]
    (into / "stack.yaml").write_text("\n".join(lines))
    return f"file://{into}/stack.yaml"


@pytest.mark.parametrize("capacity", ["FARGATE_SPOT", "SPOT"])
def test_batch_stack(
    here: Cloud,
    service: Path,
    tmp_path: Path,
    capacity: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subnets = [each["SubnetId"] for each in here.aws("ec2", "describe-subnets")["Subnets"]]
    (group, *_) = here.aws("ec2", "describe-security-groups")["SecurityGroups"]
    on_ec2 = capacity == "SPOT"
    values = {
        "Image": "registry.example.com/ml/x:train-1",
        "StoreBucket": here.bucket(f"models-{capacity.lower().replace('_', '-')}"),
        "StorePrefix": "tumours/v1",
        "Subnets": ",".join(subnets),
        "SecurityGroups": group["GroupId"],
        "Capacity": capacity,
        "InstanceTypes": "g5",
        "Gpus": "1" if on_ec2 else "0",
    }
    name = ("--stack-name", service.name)
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]
    template = ("--template-body", stack(service, tmp_path, on_ec2))
    here.aws("cloudformation", "create-stack", *name, *template, "--parameters", json.dumps(given))
    try:
        definitions = here.aws("batch", "describe-job-definitions", "--status", "ACTIVE")
        definition = definitions["jobDefinitions"][-1]
        assert definition["retryStrategy"]["attempts"] == 4
        rules = definition["retryStrategy"]["evaluateOnExit"]
        assert rules[-1] == {"onReason": "*", "action": "exit"}
        container = definition["containerProperties"]
        assert container["readonlyRootFilesystem"] is on_ec2
        assert ("linuxParameters" in container) is on_ec2
        assert "GPU" in [each["type"] for each in container["resourceRequirements"]] or not on_ec2
        if not on_ec2:
            for key, value in here.environment.items():
                monkeypatch.setenv(key, value)
            monkeypatch.setenv("PATH", str(BIN), prepend=os.pathsep)
            submitted(here, service, tmp_path, values["StoreBucket"])
    finally:
        here.aws("cloudformation", "delete-stack", *name)


def submitted(here: Cloud, service: Path, tmp_path: Path, bucket: str) -> None:
    done = make(service, "submit", "WHERE=batch", "RUN=r-1")
    assert done.returncode == 0, done.stdout + done.stderr
    job = job_of(here, done.stdout)
    assert {"name": "RUN", "value": "r-1"} in job["container"]["environment"]
    assert "SUCCEEDED" in done.stdout
    # Followed once more.
    again = make(service, "submit", "WHERE=batch", f"JOB={job['jobId']}")
    assert again.returncode == 0 and job_of(here, again.stdout)["jobId"] == job["jobId"]
    # Twice the same list is one object.
    listed = tmp_path / "clients.txt"
    listed.write_text("acme\nglobex\n")
    for _ in range(2):
        done = make(service, "submit", "WHERE=batch", f"DATASETS={listed}")
        assert done.returncode == 0, done.stdout + done.stderr
        job = job_of(here, done.stdout)
        assert job["arrayProperties"]["size"] == 2
    (key,) = here.keys(bucket)
    assert here.read(bucket, key) == listed.read_bytes()
    values = {each["name"]: each["value"] for each in job["container"]["environment"]}
    assert key == f"tumours/v1/{values['DATASETS']}"


def job_of(here: Cloud, said: str) -> Json:
    found = re.search(r"^==> (\S+): queue ", said, re.MULTILINE)
    assert found, said
    (job,) = here.aws("batch", "describe-jobs", "--jobs", found[1])["jobs"]
    return dict(job)


def test_cfn_lint_finds_nothing(service: Path, tmp_path: Path) -> None:
    good = service / "infra" / "aws" / "batch.yaml"
    done = subprocess.run([BIN / "cfn-lint", good], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("Action: EXIT", "Action: STOP"))
    done = subprocess.run([BIN / "cfn-lint", bad], capture_output=True, text=True)
    assert done.returncode and "'stop' is not one of" in done.stdout


# Kubernetes


def rendered(service: Path) -> dict[str, Json]:
    needed("kubectl")
    done = subprocess.run(
        ["kubectl", "kustomize", service / "k8s" / "training"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}


def test_the_pod_of_the_cron_job(here: Cloud, service: Path, image: str, tmp_path: Path) -> None:
    bucket = here.bucket("weekly")
    items = rendered(service)
    settings, template = items["ConfigMap"], items["CronJob"]["spec"]["jobTemplate"]
    settings["data"]["STORE"] = f"s3://{bucket}/m"
    # The second finds nothing new, which is no failure.
    for job in ("train-1", "train-2"):
        pod = json.loads(json.dumps(template["spec"]["template"]))
        pod |= {"apiVersion": "v1", "kind": "Pod"}
        pod["metadata"]["name"] = f"{job}-x7k2p"
        pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = job
        pod["spec"]["hostNetwork"] = True  # moto is on this machine
        (container,) = pod["spec"]["containers"]
        container |= {"image": image, "imagePullPolicy": "Never"}
        container["env"] += [{"name": k, "value": v} for k, v in here.environment.items()]
        for volume in (pod["spec"]["volumes"][0], container["volumeMounts"][0]):
            volume["name"] = f"tmp-{job}"  # podman's volumes are of all pods
        file = tmp_path / f"{job}.yaml"
        file.write_text(yaml.safe_dump_all([settings, pod]))
        podman("play", "kube", file)
        try:
            name = f"{job}-x7k2p-{container['name']}"
            code = int(podman("wait", name))
            done = subprocess.run(["podman", "logs", name], capture_output=True, text=True)
            assert code == 0, done.stdout + done.stderr
            found = json.loads(here.read(bucket, f"m/runs/{job}/run.json"))
            assert found["where"].endswith(f" {job}-x7k2p")
        finally:
            podman("pod", "rm", "--force", f"{job}-x7k2p")
            podman("volume", "rm", "--force", f"tmp-{job}", settings["metadata"]["name"])
    assert found["status"] == "nothing new"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75])
def test_nothing_new_is_no_failure_in_a_cluster(service: Path, tmp_path: Path, code: int) -> None:
    (container,) = rendered(service)["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    (tmp_path / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "python").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for command in (container["command"], [*workflow(service)["command"], "train"]):
        assert subprocess.run(command, env=env).returncode == (0 if code == 3 else code)


# Answers what `make submit` asks a cluster for; keeps what it is told to create.
KUBECTL = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
  "get cronjob"*) cat cronjob.json ;;
  "get jobs"*) echo '{"items": [{}]}' ;;
  "get job "*) echo '{"spec": {}, "status": {"conditions":
                     [{"type": "Complete", "status": "True"}]}}' ;;
  get*) echo '{"items": []}' ;;
  create*) cat >> created.yaml; echo "\n---" >> created.yaml; echo '{"metadata": {"name": "x"}}' ;;
esac
"""


def test_kubernetes_knows_every_field_of_the_jobs(service: Path, tmp_path: Path) -> None:
    (tmp_path / "cronjob.json").write_text(json.dumps(rendered(service)["CronJob"]))
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "list").write_text("acme\nglobex\n")
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WHERE": "k8s"}
    for more in ({"RUN": "r-1"}, {"DATASETS": str(tmp_path / "list")}):
        command = [str(PYTHON), "-m", "tools.submit"]
        done = subprocess.run(command, cwd=service, env=env | more, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    made = [item for item in yaml.safe_load_all((tmp_path / "created.yaml").read_text()) if item]
    assert [item["kind"] for item in made] == ["Job", "ConfigMap", "Job"]
    for item in made:
        # The server makes a name of it.
        item["metadata"]["name"] = item["metadata"].pop("generateName", "x") + "y"
    made_file = tmp_path / "made.yaml"
    made_file.write_text(yaml.safe_dump_all(made))
    for version in KUBERNETES:
        command = [checker("kubernetes-validate"), "--strict", "-k", version, str(made_file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# Argo


def templates(service: Path) -> dict[str, Json]:
    text = (service / "k8s" / "argo" / "workflowtemplate.yaml").read_text()
    return {each["name"]: each for each in yaml.safe_load(text)["spec"]["templates"]}


def workflow(service: Path) -> Json:
    return dict(templates(service)["pipeline"]["container"])


def test_argo_knows_every_field(service: Path) -> None:
    """By the schema of Argo 4.1.2, of which argo.json has the types that the workflow uses."""
    known = jsonschema_rs.validator_for(
        json.loads(Path(__file__).with_name("argo.json").read_text())
    )
    good = yaml.safe_load((service / "k8s" / "argo" / "workflowtemplate.yaml").read_text())
    assert [error.message for error in known.iter_errors(good)] == []
    for mistake in ("retryStrategies", "templateref"):
        bad = json.loads(json.dumps(good))
        bad["spec"]["templates"][-1][mistake] = {}
        assert not known.is_valid(bad)


def test_argo_s_steps(service: Path, tmp_path: Path) -> None:
    """Twice over two data sets: trained, approved, promoted; then nothing new, and nobody asked."""
    known = templates(service)
    assert known["all"]["steps"][0][0]["withParam"] == "{{workflow.parameters.datasets}}"
    verdict = known["pipeline"]["outputs"]["parameters"][0]["valueFrom"]["path"]
    assert f"REPORT_DIR={Path(verdict).parent}" in (service / "Dockerfile").read_text()
    for name in ("train-a", "train-b"):
        for dataset in ("acme", "globex"):
            done = step(service, tmp_path, name, known["one"]["steps"][0][0], dataset)
            assert done.returncode == 0, done.stdout + done.stderr
            found = json.loads((tmp_path / "report" / "verdict.json").read_text())
            assert found["exit"] == (0 if name == "train-a" else 3)
            (approve,), (promote,) = known["one"]["steps"][1:]
            assert approve["when"] == promote["when"] and "'$.exit') == 0" in promote["when"]
            if found["exit"] == 0:
                done = step(service, tmp_path, name, promote, dataset, approver="Ann")
                assert done.returncode == 0, done.stdout + done.stderr
                (let_in,) = (tmp_path / "store" / dataset / "deployments" / "staging").iterdir()
                record = json.loads(let_in.read_text())
                assert (record["by"], record["run"]) == ("Ann", name)


def step(
    service: Path, folder: Path, name: str, step: Json, dataset: str, approver: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a step's command with the values that Argo would put in."""
    container = workflow(service)
    inputs = {each["name"]: each["value"] for each in step["arguments"]["parameters"]}
    assert inputs["dataset"] == "{{inputs.parameters.dataset}}"
    inputs |= {"dataset": dataset, "approver": approver}
    known = {f"inputs.parameters.{key}": value for key, value in inputs.items()}
    known |= {"workflow.name": name, "workflow.parameters.env": "staging"}

    def put_in(text: str) -> str:
        return re.sub(r"{{(.+?)}}", lambda found: known[found[1]], text)

    values = {e["name"]: put_in(e["value"]) for e in container["env"] if "value" in e}
    values |= {"STORE": str(folder / "store"), "REPORT_DIR": str(folder / "report")}
    values |= {"ARTIFACT_DIR": str(folder / "artifact")}
    return subprocess.run(
        [*container["command"], *map(put_in, container["args"])],
        cwd=service,
        env=os.environ | values | {"PATH": f"{PYTHON.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
