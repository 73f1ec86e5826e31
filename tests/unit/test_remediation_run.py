"""One attempt, on a ledger alone: it looks again before it acts, is begun once, and goes on where another one died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import RefusedError
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.folders import only_one
from ccobs_ops.core.incident import Incident, State
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.loop import catch_up
from ccobs_ops.core.remediation import history, policy
from ccobs_ops.core.remediation.policy import Act, Wait
from ccobs_ops.core.remediation.run import due, look_at, remediate
from ccobs_ops.core.remediation.table import Action
from ccobs_ops.core.watch.freshness import watch_freshness
from ccobs_ops.inventory_load import loads

TARGET = "postgres/observatory"
TEXT = """
version: 1
environment: staging
stores: {us: {bucket: ccobs-backups}}
postgres:
  observatory: {dsn: host=db.invalid dbname=observatory, store: us}
"""


@pytest.fixture
def ctx(tmp_path: Path):
    path = tmp_path / "inventory.yaml"
    path.write_text(TEXT)
    inventory = loads(TEXT, path)
    with Ledger.of(inventory) as ledger:
        yield Context(inventory, ledger)


def stale(ctx: Context) -> Incident:
    """The incident that there is no backup."""
    watch_freshness(ctx)
    catch_up(ctx)
    (found,) = [one for one in incidents.listed(ctx.ledger, open_only=True) if one.claim == "backup"]
    return found


def back_up(ctx: Context) -> None:
    claims = (Claim("complete", Verdict.PASSED, "why"),)
    at = datetime.now(UTC)
    ctx.ledger.record(
        Exercise("b1", TARGET, "backup", conclude(claims), "r", at - timedelta(seconds=1), at, claims)
    )


def test_what_was_mended_meanwhile_is_seen_and_not_done_again(ctx: Context) -> None:
    incident = stale(ctx)
    back_up(ctx)
    done = remediate(ctx, incident.id, dry_run=False, confirmation=TARGET, by="a test", by_hand=False)
    assert (done.outcome, done.done, done.incident.state) == (policy.HEALTHY, None, State.CLOSED)
    assert not [one for one in incidents.history(ctx.ledger, incident.id) if one.name == "remediating"]


def test_a_dry_run_and_a_wrong_word_do_nothing(ctx: Context) -> None:
    incident = stale(ctx)
    assert remediate(ctx, incident.id, by="a test").outcome == "planned"
    with pytest.raises(RefusedError, match="not confirmed"):
        remediate(ctx, incident.id, dry_run=False, confirmation="postgres/other", by="a test")
    assert ctx.ledger.exercises(capability="backup") == []
    assert ctx.ledger.events(kind=history.ENDED) == []


def test_an_attempt_whose_process_died_is_followed_by_the_next_after_a_pause(ctx: Context) -> None:
    incident = stale(ctx)
    assert history.begin(ctx, incident, 1, "backup", "somebody who dies") is not None
    told = look_at(ctx, incident).decision
    assert isinstance(told, Wait) and "interrupted" in told.reason
    later = Context(ctx.inventory, ctx.ledger, clock=lambda: datetime.now(UTC) + timedelta(minutes=5))
    (found,) = [one for one in due(later) if one.incident.id == incident.id]
    assert found.decision == Act(Action.BACKUP, 2)


def test_one_repair_of_a_target_at_a_time(ctx: Context) -> None:
    incident = stale(ctx)
    with only_one(history.subject_lock(ctx, TARGET), "taken", hint=""):
        done = remediate(ctx, incident.id, dry_run=False, confirmation=TARGET, by="another")
        assert done.outcome == "skipped" and "another repair" in done.reason
        assert history.begin(ctx, incident, 1, "backup", "the holder") is not None
        told = look_at(ctx, incident).decision
        assert isinstance(told, Wait) and "under way" in told.reason


def test_a_repair_that_fails_is_on_record_and_the_incident_is_open_again(ctx: Context) -> None:
    incident = stale(ctx)
    done = remediate(ctx, incident.id, dry_run=False, confirmation=TARGET, by="a test", by_hand=False)
    assert done.outcome == policy.FAILED and done.done is not None and done.done.verdict is not Verdict.PASSED
    assert done.incident.state is State.OPEN and done.incident.attempts == 1
    (end,) = ctx.ledger.events(TARGET, history.ENDED)
    assert (end.subject, end.details["attempt"], end.details["outcome"]) == (incident.id, 1, policy.FAILED)
    assert isinstance(look_at(ctx, incident).decision, Wait)
