"""What the Makefile calls: `python -m tools.deploy COMMAND`.

ENV, TAG and CANDIDATE are environment variables: in a command line, a shell would evaluate them.
"""

from __future__ import annotations

import os
import sys

from tools.deploy import image, release
from tools.deploy.rollout import Place
from tools.deploy.service import DeployError


def main() -> None:
    command, options = sys.argv[1], sys.argv[2:]
    env, tag, candidate = (os.environ.get(name, "") for name in ("ENV", "TAG", "CANDIDATE"))
    try:
        if command == "image":
            image.build(options)
        elif command == "retrain":
            image.retrain(options)
        elif command == "release":
            release.write(env, release.render(env, tag, candidate))
            print(f"    make deploy ENV={env}")
        elif tag or candidate:
            raise DeployError(
                f"make {command} takes no tag, but what is released: "
                f"make release ENV={env or '...'} TAG={tag or '...'} first"
            )
        else:
            # This raises where the cluster cannot be reached, before a rollback writes anything.
            place = Place(env)
            if command == "rollback":
                release.write(env, release.before(env))
            if command == "diff":
                place.diff()
            else:
                place.deploy()
    except DeployError as error:
        sys.exit(f"\nnot done: {error}")


if __name__ == "__main__":
    main()
