"""Settings of the share of users. A wrong one is refused at start: users would notice it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Self

from service.errors import Refusal
from service.settings import FromEnvironment, about, text_about


class AbSettings(FromEnvironment, frozen=True, kw_only=True):
    ab_percent: Annotated[
        float, about("share of the users whose requests the candidate answers; 0: none", 0, 100)
    ] = 0.0
    ab_key_header: Annotated[
        str,
        text_about(
            "the header that has the user's id; who sends none is answered by live",
            r"[A-Za-z0-9][A-Za-z0-9-]*",
            "a header's name, like X-Customer-Id",
        ),
    ] = ""
    ab_experiment: Annotated[
        str,
        text_about(
            "name of the experiment: with another name, other users are the share",
            r"[A-Za-z0-9._-]{1,64}",
            "up to 64 letters, digits, dots, dashes and underscores",
        ),
    ] = "1"
    ab_budget_ms: Annotated[
        int,
        about(
            "longest that the candidate may take, then live answers; "
            "at most half of what the request may take",
            1,
            60_000,
        ),
    ] = 200
    ab_switch_file: Annotated[
        str, about("file that is read every 2 s: `off`, or another AB_PERCENT")
    ] = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As FromEnvironment; a share of users without what tells them apart is refused."""
        settings = super().from_env(environ)
        if settings.ab_percent and not settings.ab_key_header:
            raise Refusal(
                f"AB_PERCENT={settings.ab_percent:g} needs AB_KEY_HEADER: "
                "the header that has the user's id"
            )
        return settings
