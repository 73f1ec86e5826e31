"""Run one exercise from start to ledger row: whatever happens on the way becomes a verdict."""

from __future__ import annotations

from collections.abc import Callable

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, Verdict, conclude, failed, unknown
from ccobs_ops.core.redaction import REDACT


def attempt(
    ctx: Context,
    target: str,
    capability: str,
    claim: str,
    body: Callable[[Recorder], str | None],
    *,
    must_record: bool = True,
) -> Exercise:
    """Run `body`, which fills the recorder and may return the reason, and record the exercise that comes of it.

    An OpsError ends the exercise: UnknownError leaves `claim` UNKNOWN, any other refutes it. An unexpected error or an
    interruption is recorded as UNKNOWN and raised again, so that no attempt is without a row. Only where `must_record` is
    off, for what an emergency needs, does a ledger that fails leave the outcome as it is.
    """
    recorder = Recorder(target, capability, clock=ctx.clock, timer=ctx.timer)
    reason: str | None = None
    try:
        reason = body(recorder)
    except OpsError as error:
        _note(recorder, claim, error)
        reason = REDACT(error.message.splitlines()[0])
    except BaseException as error:
        what = (
            "it was interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else REDACT(repr(error))
        )
        recorder.find("not_finished", Severity.CRITICAL, target, f"the exercise did not finish: {what}")
        _add(recorder, claim, Verdict.UNKNOWN, f"did not finish: {what}")
        ctx.ledger.record(recorder.conclude())
        raise
    if reason and conclude(recorder.claims) is not Verdict.PASSED:
        telling = next((c for c in recorder.claims if c.verdict is conclude(recorder.claims)), None)
        reason = telling.reason if telling is not None else reason
    exercise = recorder.conclude(reason or "")
    try:
        ctx.ledger.record(exercise)
    except OpsError as error:
        if must_record:
            raise
        ctx.progress.note(f"this is not in the ledger: {REDACT(error.message)}")
    return exercise


def _note(recorder: Recorder, claim: str, error: OpsError) -> None:
    message, hint = REDACT(error.message), REDACT(error.hint)
    if isinstance(error, DamagedError):
        known = any(f.code == error.code and f.subject == error.subject for f in recorder.findings)
        if not known:
            recorder.find(error.code, Severity.CRITICAL, error.subject, message, hint)
        _add(recorder, claim, Verdict.FAILED, message)
    elif isinstance(error, UnknownError):
        recorder.find("not_checked", Severity.CRITICAL, recorder.target, message, hint)
        _add(recorder, claim, Verdict.UNKNOWN, message)
    else:
        recorder.find("not_done", Severity.CRITICAL, recorder.target, message, hint)
        _add(recorder, claim, Verdict.FAILED, message)


def _add(recorder: Recorder, name: str, verdict: Verdict, reason: str) -> None:
    first = reason.splitlines()[0]
    taken = {claim.name for claim in recorder.claims}
    chosen = name if name not in taken else "finished"
    recorder.claim(failed(chosen, first) if verdict is Verdict.FAILED else unknown(chosen, first))
