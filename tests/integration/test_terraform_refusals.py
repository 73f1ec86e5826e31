"""Every reason against a repair: it is told, and nothing was applied."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ccobs_ops.core.errors import RefusedError, UsageError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.terraform import approval, remediate
from ccobs_ops.core.terraform.approval import approve, plan_file
from ccobs_ops.core.terraform.remediate import Asked
from ccobs_ops.inventory_terraform import Freeze, IgnoreRule
from ccobs_ops.lab.s3 import client
from tests.terraform_support import Roots, classes, codes, roots_in, why

pytestmark = pytest.mark.lab
DRIFTED, PROMISED = 7, 35


@pytest.fixture(scope="module")
def lab_roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    with roots_in(tmp_path_factory.mktemp("refusals") / "lab") as found:
        # earlier repairs of one test are no fight of two controllers in the next
        yield found.with_root(account=None).with_policy(flip_window=timedelta(microseconds=1))


@pytest.fixture
def roots(lab_roots: Roots) -> Iterator[Roots]:
    """Production with the vault's retention lowered by hand, everything else in favour of a repair."""
    lab_roots.validated()
    lab_roots.set_retention(DRIFTED)
    lab_roots.scan()
    try:
        yield lab_roots
    finally:
        lab_roots.set_retention(PROMISED)


def refused(roots: Roots, code: str, *, retention: int = DRIFTED, accept: bool = False) -> str:
    """A repair is refused for the reason `code`, which is told, and neither state nor reality changed."""
    serial, applied = roots.state()["serial"], roots.applied()
    exercise = roots.repair(accept=accept)
    assert exercise.verdict is Verdict.FAILED, why(exercise)
    assert f"refused_{code}" in codes(exercise), why(exercise)
    assert exercise.claim("applied") is None
    assert (roots.state()["serial"], roots.applied()) == (serial, applied)
    assert roots.retention() == retention
    return next(each.message for each in exercise.findings if each.code == f"refused_{code}")


def nothing(_: Roots) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def configured(old: str, new: str) -> Callable[[Roots], AbstractContextManager[None]]:
    return lambda roots: roots.configured(old, new)


@pytest.mark.parametrize(
    ("code", "change", "told"),
    [
        ("delete", configured(r'resource "lab_file" "motd" \{.*?\n\}\n', ""), "delete"),
        ("replace", configured('"production/motd"', '"production/motd2"'), "replace"),
        (
            "forget",
            configured(
                r'resource "lab_file" "motd" \{.*?\n\}\n',
                "removed {\n  from = lab_file.motd\n  lifecycle {\n    destroy = false\n  }\n}\n",
            ),
            "forget",
        ),
        ("pending", configured("observatory production", "observatory, production"), "never applied"),
        ("pending", configured('owner  = "observatory"', 'owner  = "platform"'), "tags"),
        ("pending", configured("retention_days = 35", "retention_days = 40"), "retention_days"),
    ],
    ids=["delete", "replace", "forget", "other-object", "other-attribute", "other-value"],
)
def test_a_plan_with_more_in_it_than_the_drift(
    roots: Roots, code: str, change: Callable[[Roots], AbstractContextManager[None]], told: str
) -> None:
    with change(roots):
        assert told in refused(roots, code)
    assert roots.state()["serial"] > 0


def test_more_changes_than_allowed(roots: Roots) -> None:
    with roots.broken("drift-change"):
        assert "2 objects" in refused(roots.with_policy(max_changes=1), "too_many_changes")


def test_a_type_that_is_not_allowed(roots: Roots) -> None:
    assert "lab_bucket" in refused(roots.with_policy(types=("lab_file",)), "type_not_allowed")


def test_a_freeze_window(roots: Roots) -> None:
    freeze = Freeze(starts="* * * * *", lasts=timedelta(hours=1), reason="quarter end")
    assert "quarter end" in refused(roots.with_policy(freeze=(freeze,)), "freeze")


def test_the_grace_period_after_a_manual_change(roots: Roots) -> None:
    assert "somebody may still" in refused(roots.with_policy(grace=timedelta(hours=1)), "grace")


def test_two_controllers_that_fight(roots: Roots) -> None:
    roots.put_back_before("lab_bucket.vault", "retention_days", 3)
    assert "refused_two_controllers" not in codes(roots.repair(dry_run=True))
    week = roots.with_policy(flip_window=timedelta(days=7))
    assert "put back" in refused(week, "two_controllers")
    assert "refused_two_controllers" not in codes(week.with_policy(max_flips=100).repair(dry_run=True))


def test_a_direction_that_weakens_recovery(roots: Roots) -> None:
    """Somebody raised the retention: putting it back would destroy restore points."""
    roots.set_retention(90)
    roots.scan()
    assert "oldest restore point moves from 90 d to 35 d" in refused(roots, "weakens_recovery", retention=90)


def test_data_without_a_validation(roots: Roots) -> None:
    assert "no validation" in refused(roots.with_policy(validated_by={}), "no_validation")
    stale = roots.with_policy(validated_within=timedelta(microseconds=1))
    assert "not fresh" in refused(stale, "no_fresh_validation")
    never = roots.with_policy(validated_by={"*": "postgres/never"})
    assert "never passed" in refused(never, "no_fresh_validation")


def test_a_state_or_provider_that_could_not_be_read(roots: Roots) -> None:
    with roots.broken("state-locked"):
        assert "locked" in refused(roots, "not_read")


def test_drift_that_is_ignored(roots: Roots) -> None:
    rule = IgnoreRule(
        address="lab_bucket.vault",
        owner="team:x",
        reason="a migration",
        expires=datetime.now(UTC).date() + timedelta(days=1),
        covers_recovery=True,
    )
    assert "a migration" in refused(roots.with_root(ignore=(rule,)), "ignored")


def test_a_checkout_with_uncommitted_changes(roots: Roots) -> None:
    folder = roots.lab.directory / "terraform" / "production"
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    try:
        for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "all of it"]):
            subprocess.run(["git", "-C", folder, *words], check=True, timeout=60)
        committed = roots.scan()
        assert committed.details["commit"], why(committed)
        assert "refused_uncommitted" not in codes(roots.repair(dry_run=True))
        with roots.configured("# Backups that", "# The backups that"):
            refused(roots, "uncommitted")
    finally:
        import shutil

        shutil.rmtree(folder / ".git", ignore_errors=True)


def test_accepting_what_is_gone_would_make_the_state_forget_it(roots: Roots) -> None:
    with roots.broken("drift-delete"):
        refused(roots, "forget", accept=True)


def test_the_three_keys_of_the_guard(roots: Roots) -> None:
    serial, applied = roots.state()["serial"], roots.applied()
    dry = roots.repair(dry_run=True)
    assert dry.verdict is Verdict.PASSED and dry.claim("applied") is None, why(dry)
    with pytest.raises(RefusedError, match="not confirmed"):
        remediate.remediate(roots.ctx, "production", Asked(dry_run=False, confirmation="staging"))
    with pytest.raises(RefusedError, match="does not allow"):
        roots.with_root(allow=()).repair()
    assert (roots.state()["serial"], roots.applied()) == (serial, applied)
    assert roots.retention() == DRIFTED


def test_a_plan_waits_for_its_approval(roots: Roots) -> None:
    first = roots.repair()
    again = roots.repair()
    assert first.verdict is again.verdict is Verdict.UNKNOWN, why(again)
    assert first.details["proposal"] == again.details["proposal"]  # the same plan is not proposed twice
    assert roots.retention() == DRIFTED
    with pytest.raises(UsageError):
        approve(roots.ctx, first.details["proposal"], by=" ", reason="x")
    with pytest.raises(UsageError):
        approve(roots.ctx, "no-such-plan", by="ada", reason="x")
    kept = plan_file(roots.ctx.inventory, approval.find(roots.ctx.ledger, first.details["proposal"]))
    assert kept.stat().st_mode & 0o777 == 0o600


def test_an_approval_that_expired(roots: Roots) -> None:
    proposed = roots.repair()
    approve(roots.ctx, proposed.details["proposal"], by="ada", reason="a test")
    later = replace(roots.ctx, clock=lambda: datetime.now(UTC) + timedelta(hours=2))
    expired = replace(roots, ctx=later).repair()
    assert expired.verdict is Verdict.UNKNOWN and "approved" in {c.name for c in expired.claims}, why(expired)
    assert roots.retention() == DRIFTED
    with pytest.raises(RefusedError, match="expired"):
        approve(later, proposed.details["proposal"], by="ada", reason="late")


def test_a_plan_file_that_was_exchanged(roots: Roots) -> None:
    proposed = roots.repair()
    found = approve(roots.ctx, proposed.details["proposal"], by="ada", reason="a test")
    path = plan_file(roots.ctx.inventory, found)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    applied = roots.applied()
    exercise = roots.repair()
    assert exercise.verdict is Verdict.FAILED and "not the one that was approved" in why(exercise)
    assert roots.applied() == applied and roots.retention() == DRIFTED
    approval.used(roots.ctx, found, "failed")


def test_an_approved_plan_does_not_cover_another_drift(roots: Roots) -> None:
    """The world moved between approval and apply: what was approved is not what would be done now."""
    proposed = roots.repair()
    approve(roots.ctx, proposed.details["proposal"], by="ada", reason="a test")
    roots.set_retention(14)
    roots.scan()
    exercise = roots.repair()
    assert exercise.verdict is Verdict.UNKNOWN, why(exercise)
    assert exercise.details["proposal"] != proposed.details["proposal"]
    assert roots.retention() == 14


def test_a_stale_plan_is_refused_by_terraform_itself(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state changes after all checks, right before the apply."""
    free = roots.with_policy(approval=False)
    really = remediate.runner.apply

    def meddle(*arguments: object, **options: object) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(remediate.runner, "apply", really)
            document = roots.state()
            document["serial"] += 1
            import json

            from ccobs_ops.lab.plan import STATE_BUCKET
            from ccobs_ops.lab.terraform.estate import state_key

            client(roots.lab.plan, "us").put_object(
                Bucket=STATE_BUCKET, Key=state_key("production"), Body=json.dumps(document).encode()
            )
            return really(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(remediate.runner, "apply", meddle)
    exercise = free.repair()
    assert exercise.verdict is Verdict.FAILED and "stale" in why(exercise).lower(), why(exercise)
    assert roots.retention() == DRIFTED


def test_what_is_permitted_is_put_back_and_on_record(roots: Roots) -> None:
    exercise = roots.with_policy(approval=False).repair()
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert roots.retention() == PROMISED
    event = roots.ctx.ledger.events(target="terraform/production", kind="terraform_applied", limit=1)[0]
    assert event.details["digest"] == exercise.details["plan_digest"]
    assert event.details["by"] == "test" and event.details["seconds"] >= 0
    assert event.details["changes"][0]["paths"] == ["retention_days"]


def test_accepted_drift_is_recorded_and_stays_divergent(roots: Roots) -> None:
    exercise = roots.approved_repair(accept=True)
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert roots.retention() == DRIFTED  # the infrastructure is as it was, the state knows it
    after = roots.scan()
    assert classes(after) == {"lab_bucket.vault": "accepted_but_divergent"}, why(after)
    assert after.verdict is Verdict.FAILED
    used = approval.find(roots.ctx.ledger, exercise.details["proposal"])
    assert used.status(datetime.now(UTC)) == "applied" and used.approved_by == "ada"
    assert not plan_file(roots.ctx.inventory, used).exists()
    back = roots.with_policy(approval=False).repair()
    assert back.verdict is Verdict.PASSED, why(back)
    assert roots.retention() == PROMISED
