"""What the Makefile calls: `python -m tools.deploy COMMAND`.

ENV, TAG and the rest are environment variables: in a command line, a shell would evaluate them.
"""

from __future__ import annotations

import os
import sys

from tools.deploy import back, commit, image, release
from tools.deploy.retrain import retrain
from tools.deploy.rollout import Place
from tools.deploy.service import DeployError, NotRunning

RELEASED = 3  # the exit code of a failure that leaves something else released than before


def main() -> None:
    command, options = sys.argv[1], sys.argv[2:]
    env, tag, candidate, how = (
        os.environ.get(name, "") for name in ("ENV", "TAG", "CANDIDATE", "COMMIT")
    )
    try:
        if command == "image":
            image.build_serve(options)
        elif command == "train-image":
            image.build_train(options)
        elif command == "retrain":
            retrain(options)
        elif command == "push":
            image.push()
        elif command == "release":
            commit.put(env, lambda: release.chosen(env, tag, candidate), how)
            if how != "branch":
                print(f"    make deploy ENV={env}")
        elif (command == "rollback" and tag) or not release.is_released(env, tag, candidate):
            raise DeployError(
                f"make {command} takes no tag, but what is released: "
                f"make release ENV={env or '...'} TAG={tag or '...'} first"
            )
        elif command == "rollback":
            _rollback(env, os.environ.get("NUMBER", ""), how)
        elif command == "diff":
            Place(env).diff()
        else:
            _deploy(env, os.environ.get("ON_FAILURE", ""), how)
    except NotRunning as error:
        print(f"\nnot done: {error}", file=sys.stderr)
        sys.exit(RELEASED)
    except DeployError as error:
        sys.exit(f"\nnot done: {error}")


def _rollback(env: str, number: str, how: str) -> None:
    if how == "branch":
        raise DeployError("COMMIT=branch: a rollback waits for no pull request: COMMIT=push")
    # This raises where the cluster cannot be reached, before anything is written.
    place = Place(env)
    text = back.numbered(env, number) if number else ""
    commit.put(env, lambda: text or release.before(env), how)
    try:
        place.deploy()
    except DeployError as error:
        raise NotRunning(str(error)) from None


def _deploy(env: str, on_failure: str, how: str) -> None:
    if on_failure not in ("", "rollback"):
        raise DeployError(f"ON_FAILURE={on_failure}: expected rollback, or nothing")
    place = Place(env)
    if on_failure:
        back.deploy(place, how)
    else:
        place.deploy()


if __name__ == "__main__":
    main()
