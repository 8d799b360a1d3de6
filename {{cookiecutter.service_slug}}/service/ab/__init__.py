"""A share of the users: the candidate answers them, and live does whatever it fails at (A/B test).

    assignment.py   who belongs to the share, for good
    share.py        asks the candidate for them, and falls back
    hop.py          is the way there and back, by shadow traffic's client
    contract.py     lets no answer pass that callers could not read
    record.py       counts, and tells: metrics, and lines of the log

Client, breaker, switch and events are those of shadow traffic (service/shadow). Nothing of all this
is in a request's way unless AB_PERCENT is set.
"""

from __future__ import annotations

import logging

from service.ab.settings import AbSettings
from service.ab.share import Share
from service.artifact import Manifest
from service.errors import Refusal
from service.settings import Settings
from service.shadow.settings import ShadowSettings

log = logging.getLogger("service.ab")


def share(manifest: Manifest, service: Settings) -> Share | None:
    """Return the share of users as the environment says; None if it is off.

    Raises Refusal if the environment says it wrongly.
    """
    settings = AbSettings.from_env()
    if not settings.ab_percent:
        return None
    candidate = ShadowSettings.from_env()
    if candidate.shadow_role == "candidate":  # which hands nobody on
        return None
    if not candidate.shadow_url:
        # A release without a candidate must start, or a promotion would be refused.
        log.warning("AB_PERCENT=%g, and no SHADOW_URL: live answers all", settings.ab_percent)
        return None
    if candidate.target.is_this(service):
        raise Refusal(f"SHADOW_URL={candidate.shadow_url!r} is this service itself")
    return Share(settings, candidate.target, manifest)
