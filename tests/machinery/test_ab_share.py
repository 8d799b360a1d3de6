"""The share of users beside what goes wrong on live's own side."""

from __future__ import annotations

from typing import Any

import pytest

from service.ab import hop
from service.ab.assignment import Assignment
from service.ab.settings import AbSettings
from service.ab.share import Share
from service.engine import Engine
from service.record import RequestRecord
from service.shadow import breaker
from service.shadow.settings import Target

NOWHERE = Target("127.0.0.1", 9, "")
ENVIRON: dict[str, Any] = {"service.body": b"{}", "HTTP_X_CUSTOMER": "a"}


@pytest.fixture
def share(engine: Engine) -> Any:
    settings = AbSettings(ab_percent=100, ab_key_header="X-Customer")
    made = Share(settings, NOWHERE, engine.manifest)
    made.start(None, 0)
    yield made
    made.stop()


def ask(share: Share) -> str:
    """Ask for a user of the candidate; return why there is no answer of it."""
    assignment = Assignment("key", "candidate")
    assert share.ask(dict(ENVIRON), RequestRecord(row_count=1), assignment, 1.0) is None
    return assignment.fallback


def test_what_is_lives_own_fault_does_not_tell_of_the_candidate(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hop, "MOST_CONNECTIONS", 0)
    assert {ask(share) for _ in range(2 * breaker.RECENT)} == {"busy"}
    monkeypatch.setattr(share._hop, "ask", lambda *_: 1 / 0)
    assert {ask(share) for _ in range(2 * breaker.RECENT)} == {"fault"}
    monkeypatch.undo()
    reasons = [ask(share) for _ in range(2 * breaker.FAILURES_IN_A_ROW)]
    assert reasons == ["connect"] * 5 + ["breaker"] * 5


def test_before_it_starts_and_for_copies_there_are_no_users(share: Share, engine: Engine) -> None:
    early = Share(AbSettings(ab_percent=100, ab_key_header="X-Customer"), NOWHERE, engine.manifest)
    for one, environ in ((early, ENVIRON), (share, ENVIRON | {"HTTP_X_SHADOW_REQUEST": "1"})):
        record = RequestRecord()
        one.assign(environ, record)
        assert record.assignment is None
    record = RequestRecord()
    share.assign(ENVIRON, record)
    assert record.assignment is not None and record.assignment.group == "candidate"
