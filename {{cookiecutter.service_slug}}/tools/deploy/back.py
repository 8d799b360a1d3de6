"""The ways back: to a deployment by its number, and by itself when a rollout fails."""

from __future__ import annotations

from tools.deploy import commit, release
from tools.deploy.rollout import Place, Unfinished
from tools.deploy.service import DeployError, NotRunning

LISTED = 5


def numbered(env: str, number: str) -> str:
    """Return the text that releases again what a deployment of the record brought.

    Raises DeployError, which lists the last ones if there is none of that number.
    """
    # Only here: all else that deploys does without packages, so that it works without them.
    from pipeline import datasets, records
    from pipeline.store import StoreError, StoreMisused

    try:
        made = records.deployments(datasets.opened(to_read=True), env)
    except (StoreError, StoreMisused) as error:
        raise DeployError(str(error)) from None
    for one in made:
        if str(one.number) == number:
            return release.render(env, one.tag)
    last = [f"{one.number} ({one.version}, {one.at[:10]})" for one in made[-LISTED:]]
    raise DeployError(f"NUMBER={number}: {env} had {', '.join(last) or 'no deployment'}")


def deploy(place: Place, how: str) -> None:
    """Deploy, and if that fails bring the release before back, which `how`, COMMIT, commits.

    Raises NotRunning with the reason of the failure, and what runs now; DeployError for a release
    that ran before this: whatever fails, it is not that this one is new.
    """
    ran = place.runs(release.released(place.env)[0])
    try:
        place.deploy()
    except DeployError as error:
        if ran:
            raise
        reason = error.reason if isinstance(error, Unfinished) else str(error)
        raise NotRunning(f"{reason}\n{_brought_back(place, reason, how)}") from None


def _brought_back(place: Place, reason: str, how: str) -> str:
    """Return what runs now."""
    env = place.env
    try:
        text = release.replaced(env)
    except DeployError:
        return f"Nothing was released to {env} before this, so nothing can come back."
    tag = release.tags(text)[0]
    print(f"\nfailed: {reason}\n==> back to {tag}", flush=True)
    try:
        # Argo CD applies what git has; else the cluster comes first, and git may fail.
        if place.argo:
            commit.put(env, lambda: text, how)
        else:
            release.write(env, text)
        place.deploy()
    except DeployError as error:
        return f"The release before, {tag}, did not come back: {error}"
    try:
        if not place.argo:
            commit.put(env, lambda: text, how)
    except DeployError as error:
        return f"The release before, {tag}, runs again, but git does not say so: {error}"
    return f"The release before, {tag}, runs again."
