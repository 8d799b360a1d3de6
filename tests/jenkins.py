"""Jenkinsfiles without Jenkins: which make lines run on an occasion, with which environment.

It reads the few words of declarative pipelines that ours are made of, and knows no others. The make
lines run in bash, with a recording make. What Jenkins' plugins do is not checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from groovy import Block, parse
from steps import Mistake, Step

# What docs/ci.md has people configure once.
CREDENTIALS = {
    "store": "s3://models/x",
    "kubeconfig-staging": "/agent/staging",
    "kubeconfig-production": "/agent/production",
    "dd-api-key": "a secret",
    "dd-app-key": "a secret",
    "retrain-token": "a secret",
    "retrain-url": "http://jenkins.example.com/job/x/job/main/buildWithParameters",
    "staging-url": "http://staging.example.com",
    "registry": "a secret",
    "git": "a secret",
}
SETTINGS = {"RUNNER": "models"}
SECTIONS = {
    "pipeline": {"agent", "triggers", "parameters", "environment", "options", "stages"},
    "stage": {"when", "agent", "options", "input", "environment", "steps", "post", "stages"},
    "input": {"message", "submitterParameter"},
}
UNITS = ("HOURS", "DAYS")


@dataclass
class Start:
    """How a build is started: on which branch, by what, with what changed and asked for."""

    branch: str = "main"
    cause: str = "BranchEventCause"
    changed: tuple[str, ...] = ("model.py",)
    parameters: dict[str, str] = field(default_factory=dict)
    new: bool = True  # whether it pushes an image that production does not run already
    first: bool = False  # whether the branch had no build before


class Build:
    """What one build of a Jenkinsfile does; `steps` are the shell lines, in their order."""

    def __init__(self, path: Path, start: Start) -> None:
        """Raises Mistake."""
        pipeline = parse(path.read_text())
        _sections(pipeline, "pipeline")
        self.start, self.steps, self._stashed = start, list[Step](), set[str]()
        self._read: dict[str, bool] = {}
        self._milestone = 0
        self.parameters = self._parameters(pipeline.part("parameters"))
        known = SETTINGS | self.parameters | {"BRANCH_NAME": start.branch}
        self._stages(pipeline, known, waits=False)

    def _parameters(self, block: Block | None) -> dict[str, str]:
        found = {}
        for line in block.inner if block else ():
            name = _word(line.head, r"\(name: '(\w+)'")
            choices = re.search(r"choices: \[(.+?)\]", line.head)
            allowed = re.findall(r"'(\w+)'", choices[1]) if choices else []
            found[name] = self.start.parameters.get(name, allowed[0] if allowed else "")
            if allowed and found[name] not in allowed:
                raise Mistake(f"nobody can ask for {name}={found[name]}")
        if unknown := set(self.start.parameters) - set(found):
            raise Mistake(f"nobody can ask for {unknown}")
        return found

    def _stages(self, block: Block, known: dict[str, str], waits: bool) -> None:
        known = self._environment(block.part("environment"), known)
        stages = block.part("stages")
        for stage in stages.inner if stages else _never(f"no stages in {block.head}"):
            _sections(stage, "stage")
            when = stage.part("when")
            if when and "changeset" in _words(when) and not stage.part("agent"):
                raise Mistake(f"{stage.head} knows no changes: it has checked nothing out")
            if when and not all(self._holds(each) for each in when.inner):
                continue
            asks = stage.part("input")
            if asks:
                _sections(asks, "input")
            said = {"APPROVER": "ann"} if asks and asks.part("submitterParameter") else {}
            if stage.part("stages"):
                self._stages(stage, known | said, waits or bool(asks))
                continue
            agent = stage.part("agent") or _never(f"{stage.head} has no agent")
            if self._text(_word(agent.inner[0].head, r"label (.+)"), known) != SETTINGS["RUNNER"]:
                raise Mistake(f"no such agent: {agent.inner[0].head}")
            for option in options.inner if (options := stage.part("options")) else ():
                if _word(option.head, r"timeout\(time: \d+, unit: '(\w+)'\)") not in UNITS:
                    raise Mistake(option.head)
            inside = self._environment(stage.part("environment"), known | said)
            steps = stage.part("steps") or _never(f"{stage.head} has no steps")
            self._do(steps.inner, inside, waits or bool(asks))
            post = stage.part("post")
            if not post or not (last := post.part("cleanup")) or not last.part("deleteDir"):
                raise Mistake(f"{stage.head}: an agent keeps what the build before left")

    def _do(self, steps: list[Block], known: dict[str, str], waits: bool) -> None:
        for step in steps:
            match step.word:
                case "sh":
                    # In double quotes Groovy would put values into the script.
                    script = _word(step.head, r"sh '([^']+)'")
                    pushes = re.search(r"make (release|rollback)", script)
                    if pushes and "GIT_ASKPASS" not in known:
                        raise Mistake(f"who may push is not said: {step.head}")
                    self.steps.append(Step(script, known, waits))
                case "withCredentials":
                    self._do(step.inner, known | _lent(step.head), waits)
                case "stash":
                    self._stashed.add(_word(step.head, r"stash name: '(\w+)'"))
                case "script" if step.inner[0].head == "env.CHECKED = 'yes'":
                    self._read["CHECKED"] = True
                case "script":
                    name = _word(
                        step.inner[0].head, r"^env\.(\w+) = readFile\('report/image.txt'\)$"
                    )
                    self._read[name] = self.start.new
                case "unstash":
                    if (name := _word(step.head, r"unstash '(\w+)'")) not in self._stashed:
                        raise Mistake(f"nobody stashed {name}")
                case "milestone":
                    number = int(_word(step.head, r"milestone (\d+)"))
                    if number <= self._milestone:
                        raise Mistake(step.head)
                    self._milestone = number
                case _:
                    raise Mistake(f"unknown step: {step.head}")

    def _environment(self, block: Block | None, known: dict[str, str]) -> dict[str, str]:
        for line in block.inner if block else ():
            name, value = _word(line.head, r"(\w+) = .+"), _word(line.head, r"\w+ = (.+)")
            if secret := re.fullmatch(r"credentials\((.+)\)", value):
                known = known | {name: _credential(self._text(secret[1], known))}
            else:
                known = known | {name: self._text(value, known)}
        return known

    def _text(self, quoted: str, known: dict[str, str]) -> str:
        if quoted.startswith("'"):
            return quoted.strip("'")
        found = quoted.strip('"')
        for match in re.finditer(r"\$\{(env|params)\.(\w+)\}", found):
            values = known if match[1] == "env" else self.parameters
            if match[2] not in values:
                raise Mistake(f"unknown: {match[0]}")
            found = found.replace(match[0], values[match[2]])
        return found

    def _holds(self, condition: Block) -> bool:
        head, inner = condition.head, condition.inner
        match condition.word:
            case "anyOf":
                return any([self._holds(each) for each in inner])
            case "branch":
                return self.start.branch == _word(head, r"branch '(\w+)'")
            case "changeRequest":
                return self.start.branch.startswith("PR-")
            case "changeset":
                pattern = _word(head, r"changeset comparator: 'REGEXP', pattern: '(.+)'")
                return any(re.fullmatch(pattern, name) for name in self.start.changed)
            case "triggeredBy":
                return self.start.cause == _word(head, r"triggeredBy (?:cause: )?'(\w+)'")
            case "expression":
                if inner[0].head == "env.BUILD_NUMBER == '1'":
                    return self.start.first
                if inner[0].head.startswith("env."):
                    return self._read.get(_word(inner[0].head, r"^env\.(\w+)$"), False)
                name = _word(inner[0].head, r"^params\.(\w+) == '\w+'$")
                value = _word(inner[0].head, r"== '(\w+)'$")
                return self.parameters.get(name) == value
            case "beforeInput":
                return True
        raise Mistake(f"unknown condition: {head}")


def _words(block: Block) -> set[str]:
    return {block.word}.union(*map(_words, block.inner))


def _sections(block: Block, kind: str) -> None:
    for each in block.inner:
        if each.word not in SECTIONS[kind]:
            raise Mistake(f"{kind} has no {each.head}")


def _credential(name: str) -> str:
    return CREDENTIALS.get(name) or _never(f"no credentials {name}")


def _lent(head: str) -> dict[str, str]:
    """Return the variables that withCredentials sets."""
    secret = _credential(_word(head, r"credentialsId: '([\w-]+)'"))
    names = re.findall(r"\w+Variable: '(\w+)'", head)
    if "gitUsernamePassword(" in head:
        names = ["GIT_ASKPASS"]
    return dict.fromkeys(names, secret)


def _word(text: str, pattern: str) -> str:
    found = re.search(pattern, text) or _never(text)
    return found[1]


def _never(why: str) -> NoReturn:
    raise Mistake(why)
