"""However an exercise ends, there is a verdict and a row in the ledger; what nobody looked at is never PASSED."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError, RefusedError, UnknownError, UsageError
from ccobs_ops.core.exercise import (
    Claim,
    Exercise,
    Finding,
    Recorder,
    Severity,
    Verdict,
    conclude,
    failed,
    passed,
    unknown,
)
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.process import ProcessError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.inventory_load import load

TARGET = "postgres/observatory"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    """A context with a real ledger, a clock that goes one second a look, and a timer that goes two."""
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\nenvironment: lab\n")
    path.chmod(0o600)
    inventory = load(path)
    ticks, seconds = itertools.count(), itertools.count()
    with Ledger.of(inventory) as ledger:
        yield Context(
            inventory,
            ledger,
            clock=lambda: NOON + timedelta(seconds=next(ticks)),
            timer=lambda: 2.0 * next(seconds),
        )


def rows(ctx: Context) -> list[Exercise]:
    return list(ctx.ledger.exercises(target=TARGET))


def run(ctx: Context, body: Callable[[Recorder], str | None]) -> Exercise:
    done = attempt(ctx, TARGET, "validation", "exact", body)
    assert rows(ctx) == [done], "what is returned is what is on record"
    return done


def raising(error: BaseException) -> Callable[[Recorder], str | None]:
    def body(rec: Recorder) -> str | None:
        rec.claim(passed("before", "this went well"))
        raise error

    return body


def claiming(*claims: Claim, reason: str | None = None) -> Callable[[Recorder], str | None]:
    def body(rec: Recorder) -> str | None:
        for claim in claims:
            rec.claim(claim)
        return reason

    return body


@pytest.mark.parametrize(
    ("claims", "verdict", "reason"),
    [
        ((passed("a", "good"), passed("b", "fine")), PASSED, "good"),
        ((passed("a", "good"), failed("b", "bad")), FAILED, "bad"),
        ((passed("a", "good"), unknown("b", "dark")), UNKNOWN, "dark"),
        ((unknown("a", "dark"), failed("b", "bad")), FAILED, "bad"),
        ((), UNKNOWN, "nothing was checked"),
    ],
)
def test_the_claims_make_the_verdict_and_the_telling_one_the_reason(
    ctx: Context, claims: tuple[Claim, ...], verdict: Verdict, reason: str
) -> None:
    done = run(ctx, claiming(*claims))
    assert (done.verdict, done.reason, done.claims) == (verdict, reason, claims)


def test_the_bodys_own_summary_is_the_reason_only_of_success(ctx: Context) -> None:
    assert run(ctx, claiming(passed("a", "good"), reason="all 4182 there")).reason == "all 4182 there"


@pytest.mark.parametrize("claim", [failed("b", "three are missing"), unknown("b", "could not look")])
def test_a_summary_never_hides_what_went_wrong(ctx: Context, claim: Claim) -> None:
    done = run(ctx, claiming(passed("a", "good"), claim, reason="all 4182 there"))
    assert done.reason == claim.reason


def test_a_summary_without_a_claim_proves_nothing(ctx: Context) -> None:
    assert run(ctx, claiming(reason="it went well")).verdict is UNKNOWN


DAMAGE = DamagedError("segment A3 is corrupt", code="wal_corrupt", subject="A3", hint="bring it back")


@pytest.mark.parametrize(
    ("error", "verdict", "finding"),
    [
        (DAMAGE, FAILED, ("wal_corrupt", "A3", "bring it back")),
        (UnknownError("the store is down", hint="look"), UNKNOWN, ("not_checked", TARGET, "look")),
        (OpsError("the disk is full", hint="make room"), FAILED, ("not_done", TARGET, "make room")),
        (UsageError("no such thing"), FAILED, ("not_done", TARGET, "")),
        (RefusedError("it is a dry run"), FAILED, ("not_done", TARGET, "")),
        (ProcessError("initdb ended with exit status 1:\nlast words"), FAILED, ("not_done", TARGET, "")),
    ],
)
def test_an_error_for_people_ends_the_exercise_with_its_verdict(
    ctx: Context, error: OpsError, verdict: Verdict, finding: tuple[str, str, str]
) -> None:
    done = run(ctx, raising(error))
    first = error.message.splitlines()[0]
    assert (done.verdict, done.reason) == (verdict, first)
    assert done.claim("before") == passed("before", "this went well")
    assert done.claim("exact") == Claim("exact", verdict, first)
    assert done.findings == (Finding(finding[0], Severity.CRITICAL, finding[1], error.message, finding[2]),)


def test_damage_that_was_found_already_is_not_told_twice(ctx: Context) -> None:
    def body(rec: Recorder) -> str | None:
        rec.find("wal_corrupt", Severity.CRITICAL, "A3", "seen in the listing")
        raise DAMAGE

    done = run(ctx, body)
    assert [finding.message for finding in done.findings] == ["seen in the listing"]
    assert done.verdict is FAILED


@pytest.mark.parametrize(
    ("made", "error", "verdict"),
    [
        (passed("exact", "all there"), DAMAGE, FAILED),
        (passed("exact", "all there"), UnknownError("dark"), UNKNOWN),
    ],
)
def test_an_error_after_the_main_claim_passed_still_spoils_the_exercise(
    ctx: Context, made: Claim, error: OpsError, verdict: Verdict
) -> None:
    def body(rec: Recorder) -> str | None:
        rec.claim(made)
        raise error

    done = run(ctx, body)
    assert (done.verdict, done.reason) == (verdict, error.message)
    assert [claim.name for claim in done.claims] == ["exact", "finished"]


def test_an_unknown_end_does_not_soften_a_failure(ctx: Context) -> None:
    def body(rec: Recorder) -> str | None:
        rec.claim(failed("intact", "a page is broken"))
        raise UnknownError("the store is down")

    done = run(ctx, body)
    assert (done.verdict, done.reason) == (FAILED, "a page is broken")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("boom"), "RuntimeError('boom')"),
        (KeyError("x"), "KeyError('x')"),
        (KeyboardInterrupt(), "it was interrupted"),
        (SystemExit(1), "it was interrupted"),
        (GeneratorExit(), "GeneratorExit()"),
    ],
)
def test_what_nobody_expected_is_on_record_as_unknown_and_goes_on(
    ctx: Context, error: BaseException, told: str
) -> None:
    with pytest.raises(type(error)) as caught:
        attempt(ctx, TARGET, "validation", "exact", raising(error))
    assert caught.value is error
    [row] = rows(ctx)
    assert (row.verdict, row.reason) == (UNKNOWN, f"did not finish: {told}")
    assert row.findings[0].code == "not_finished"
    assert told in row.findings[0].message


def test_an_unexpected_error_after_a_failure_leaves_it_a_failure(ctx: Context) -> None:
    def body(rec: Recorder) -> str | None:
        rec.claim(failed("intact", "a page is broken"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        attempt(ctx, TARGET, "validation", "exact", body)
    assert [(row.verdict, row.reason) for row in rows(ctx)] == [(FAILED, "a page is broken")]


def test_a_secret_in_an_unexpected_error_does_not_reach_the_ledger(ctx: Context) -> None:
    REDACT.add("attempt-hunter2")
    with pytest.raises(RuntimeError):
        attempt(
            ctx, TARGET, "validation", "exact", raising(RuntimeError("login with attempt-hunter2 failed"))
        )
    assert "hunter2" not in str([row.to_json() for row in rows(ctx)])


def test_phases_measurements_and_times_are_kept_also_when_it_fails(ctx: Context) -> None:
    def body(rec: Recorder) -> str | None:
        with rec.phase("fetch") as meter:
            meter.add(10)
            meter.add(5)
        rec.measurements["rto_seconds"] = 1.5
        rec.details["backup_id"] = "b"
        with rec.phase("replay"):
            raise DAMAGE

    done = run(ctx, body)
    assert [(phase.name, phase.seconds, phase.bytes) for phase in done.phases] == [
        ("fetch", 2.0, 15),
        ("replay", 2.0, None),
    ]
    assert (done.measurements, done.details) == ({"rto_seconds": 1.5}, {"backup_id": "b"})
    assert (done.started_at, done.seconds) == (NOON, 1.0)


def test_each_attempt_has_its_own_row(ctx: Context) -> None:
    for _ in range(3):
        attempt(ctx, TARGET, "validation", "exact", claiming(passed("exact", "good")))
    assert len({row.id for row in rows(ctx)}) == 3


def test_one_claim_is_made_once() -> None:
    recorder = Recorder(TARGET, "validation", clock=lambda: NOON, timer=lambda: 0.0)
    recorder.claim(failed("exact", "bad"))
    with pytest.raises(ValueError, match="'exact' was made twice"):
        recorder.claim(passed("exact", "good after all"))


@pytest.mark.parametrize("count", range(4))
def test_only_claims_that_all_passed_make_a_pass(count: int) -> None:
    for verdicts in itertools.product(Verdict, repeat=count):
        claims = [Claim(str(number), verdict, "") for number, verdict in enumerate(verdicts)]
        expected = FAILED if FAILED in verdicts else PASSED if set(verdicts) == {PASSED} else UNKNOWN
        assert conclude(claims) is expected


def test_exit_statuses() -> None:
    assert [verdict.exit_status for verdict in (PASSED, FAILED, UNKNOWN)] == [0, 1, 3]
