"""Build, deploy, compare, take back: one command each, called by the Makefile."""

from __future__ import annotations

import argparse
import sys

from tools.deploy import image, manifests, rollout
from tools.deploy.service import DeployError, Service


def main() -> None:
    arguments, options = _arguments()
    service = Service.read()
    try:
        if arguments.command == "image":
            image.build(service, options)
        elif arguments.command == "retrain":
            image.retrain(service, options)
        elif arguments.command == "rollback":
            rollout.undo(service, arguments.env)
        else:
            text = manifests.render(service, arguments.env, arguments.tag, arguments.candidate)
            act = rollout.deploy if arguments.command == "deploy" else rollout.diff
            act(service, arguments.env, text)
    except DeployError as error:
        sys.exit(f"\nnot done: {error}")


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    """Return what was asked for, and options for the build, which are passed on as they are."""
    parser = argparse.ArgumentParser(prog="python -m tools.deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("image", "build the image of the artifact"),
        ("retrain", "make a new artifact, in a container"),
    ):
        commands.add_parser(name, help=about)
    for name, about in (
        ("deploy", "roll an image out, and wait for it"),
        ("diff", "show what deploying it would change"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("env", help="an overlay in k8s/overlays")
        command.add_argument("tag", help="as `make image` said")
        command.add_argument("candidate", nargs="?", default="", help="tag, with ghost mode on")
    command = commands.add_parser("rollback", help="go back to the image before, and wait")
    command.add_argument("env", help="an overlay in k8s/overlays")
    arguments, options = parser.parse_known_args()
    if options and arguments.command not in ("image", "retrain"):
        parser.error(f"unknown: {' '.join(options)}")
    return arguments, options


if __name__ == "__main__":
    main()
