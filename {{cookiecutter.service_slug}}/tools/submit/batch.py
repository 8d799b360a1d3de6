"""AWS Batch: jobs by the definition and the queue of the stack that is called as the service."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from pipeline import exits
from pipeline.datasets import FOLDER
from tools.deploy.service import NAME
from tools.programs import Json, Refused, output, parsed
from tools.submit.progress import Progress
from tools.submit.request import Datasets, Request, SubmitError

POLL_SECONDS = 5.0
ENDED = ("SUCCEEDED", "FAILED")


class Batch:
    def __init__(self) -> None:
        """Raises SubmitError if the stack is not there or may not be seen."""
        try:
            (stack,) = aws("cloudformation", "describe-stacks", StackName=NAME)["Stacks"]
        except Refused as error:
            if "does not exist" in str(error):
                raise SubmitError(
                    f"there is no stack {NAME} here: create it from infra/aws/batch.yaml, "
                    "or say another AWS_PROFILE or AWS_REGION"
                ) from None
            raise
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
        self._tokens: dict[str, str] = {}

    def __str__(self) -> str:
        return f"queue {self.outputs['Queue'].rpartition('/')[2]} of AWS Batch"

    def submit(self, request: Request) -> str:
        """Start a job, or an array of them, and return its id; raises SubmitError."""
        store = request.store or self.outputs["Store"]
        values = request.values
        array: Json = {}
        if request.datasets:
            values["DATASETS"] = _keep(request.datasets, store)
            array = {"arrayProperties": {"size": len(request.datasets.names)}}
        environment = [{"name": name, "value": value} for name, value in values.items() if value]
        job = aws(
            "batch",
            "submit-job",
            jobName=NAME,
            jobQueue=self.outputs["Queue"],
            jobDefinition=self.outputs["Definition"],
            containerOverrides={"environment": environment},
            **array,
        )
        return str(job["jobId"])

    def follow(self, job: str) -> int:
        """Show states and log lines until the job ends; return its exit code.

        Raises SubmitError if it is unknown, or ended without one for good.
        """
        show = Progress()
        while True:
            found = self._job(job)
            show(_state(found))
            if found["status"] in ENDED:
                break
            self._log(found)
            time.sleep(POLL_SECONDS)
        if _size(found):
            return self._of_array(job)
        # The last lines arrive after the end.
        time.sleep(POLL_SECONDS)
        self._log(found)
        return _exit(found)

    def _job(self, job: str) -> Json:
        jobs = aws("batch", "describe-jobs", jobs=[job])["jobs"]
        if not jobs:
            raise SubmitError(f"JOB={job}: AWS Batch knows none such; it forgets after a week")
        return dict(jobs[0])

    def _log(self, job: Json) -> None:
        """Print the lines that each attempt has written since the last time."""
        attempts = [attempt.get("container", {}) for attempt in job.get("attempts", ())]
        names = [each.get("logStreamName") for each in (*attempts, job.get("container", {}))]
        for name in dict.fromkeys(filter(None, names)):
            while True:
                token = self._tokens.get(name)
                asked = {"nextToken": token} if token else {"startFromHead": True}
                try:
                    found = aws(
                        "logs",
                        "get-log-events",
                        logGroupName=self.outputs["Logs"],
                        logStreamName=name,
                        **asked,
                    )
                except Refused as error:
                    if "ResourceNotFoundException" in str(error):
                        break  # nothing was written yet
                    raise
                for event in found["events"]:
                    print(event["message"], flush=True)
                self._tokens[name] = found["nextForwardToken"]
                if found["nextForwardToken"] == token:
                    break

    def _of_array(self, job: str) -> int:
        codes = []
        for status in ENDED:
            asked = {"arrayJobId": job, "jobStatus": status}
            for child in aws("batch", "list-jobs", **asked).get("jobSummaryList", ()):
                codes.append(_exit(child))
                if codes[-1]:
                    print(
                        f"    {child['jobId']}  exit {codes[-1]}  {child.get('statusReason', '')}"
                    )
        return exits.of_many(codes)


def aws(service: str, operation: str, *options: str, **request: Any) -> Json:
    """Call an operation of AWS by its API's own names; raises Refused if it is refused."""
    asked = ("--cli-input-json", json.dumps(request), "--output", "json")
    return parsed(output("aws", service, operation, *options, *asked))


def _keep(datasets: Datasets, store: str) -> str:
    """Put a list into the store, unless it is there; return its path in it."""
    path = f"{FOLDER}/{datasets.hash}.txt"
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    key = f"{prefix}/{path}" if prefix else path
    try:
        body = ("--body", os.fspath(datasets.path))
        aws("s3api", "put-object", *body, Bucket=bucket, Key=key, IfNoneMatch="*")
    except Refused as error:
        if "PreconditionFailed" not in str(error):
            raise
    return path


def _size(job: Json) -> int:
    return int(job.get("arrayProperties", {}).get("size", 0))


def _state(job: Json) -> str:
    counts = job.get("arrayProperties", {}).get("statusSummary", {})
    each = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    tries = len(job.get("attempts", ()))
    again = f" (attempt {tries + 1})" if tries and job["status"] not in ENDED else ""
    return f"{job['status']}{again}{f': {each}' if each else ''}"


def _exit(job: Json) -> int:
    """Return a job's exit code; LATER if it had no chance to end by itself."""
    code = job.get("container", {}).get("exitCode")
    if code is None and job["status"] == "FAILED":
        print(f"    ended from outside: {job.get('statusReason', 'no reason given')}")
        return exits.LATER
    return int(code or 0)
