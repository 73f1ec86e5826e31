"""Whether a verdict was right, told without the product's code: by what was planted, and by the referee's own copy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bench.validations.archive import Bucket
from bench.validations.damage import Saboteur
from bench.validations.referee import Seen, restore_to
from bench.validations.witness import CROSSING_SECONDS, Row, Witness, lsn_number
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.lab import Lab

RPO_SECONDS = 10.0
"""What the lab's inventory promises."""
TOLD_SECONDS = 15.0
"""A copy without a canary this near to its recovery point cannot be told exact (`exact` is then UNKNOWN)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`right` is the verdict that the exercise should have had, `why` what tells; `checked` how many rows were compared."""

    right: Verdict
    why: str
    checked: int = 0


def judge(
    lab: Lab,
    bucket: Bucket,
    witness: Witness,
    saboteur: Saboteur,
    exercise: dict[str, Any],
    planted: Verdict,
) -> Judgement:
    """What the verdict should have been. `planted` is what the planted damage alone makes it."""
    if planted is not Verdict.PASSED:
        return Judgement(planted, "planted")
    details = exercise["details"]
    if "recovered_lsn" not in details:
        return Judgement(Verdict.PASSED, "nothing that was needed is damaged")
    lsn = lsn_number(details["recovered_lsn"])
    try:
        seen = restore_to(lab, bucket, bucket.read(), lsn, details["timeline"])
    except OpsError as error:
        return Judgement(Verdict.FAILED, f"the referee does not get there: {error.message.splitlines()[-1]}")
    at = _target_time(details["target"])
    wrong = _wrong_rows(witness.rows(), seen, at, lsn)
    if wrong:
        return Judgement(
            Verdict.FAILED, f"{len(wrong)} rows of the witness are wrong, the first is {wrong[0]}"
        )
    moment = at or datetime.fromisoformat(details["recovered_to"])
    if saboteur.lacks_canary(moment):
        return Judgement(Verdict.FAILED, "a canary was missing at that moment", len(seen.witness))
    told = int(exercise["measurements"].get("canaries_present", -1))
    if not told <= seen.canaries <= told + 1:
        return Judgement(Verdict.FAILED, f"{seen.canaries} canaries came back, not {told}", len(seen.witness))
    return _by_age(seen, moment, exercise)


def _by_age(seen: Seen, moment: datetime, exercise: dict[str, Any]) -> Judgement:
    """How old the newest canary of the copy is decides between a proof, a broken promise and no proof at all."""
    told = f"{len(seen.witness)} rows as the witness says"
    age = (moment - seen.last_canary_at).total_seconds() if seen.last_canary_at else float("inf")
    stopped = {claim["name"] for claim in exercise["claims"] if claim["verdict"] != "PASSED"}
    if age > TOLD_SECONDS and "exact" in stopped:
        return Judgement(
            Verdict(exercise["verdict"]), f"{told}; no canary for {age:.1f} s", len(seen.witness)
        )
    if age > RPO_SECONDS and stopped == {"rpo"}:
        return Judgement(Verdict.FAILED, f"{told}; no canary for {age:.1f} s", len(seen.witness))
    return Judgement(Verdict.PASSED, told, len(seen.witness))


def _wrong_rows(rows: list[Row], seen: Seen, at: datetime | None, lsn: int) -> list[int]:
    """Rows that must be there and are not, or the other way round: by commit time, or for the newest by position."""
    if at is None:
        # a commit record ends at row.lsn at the latest; the row before it bounds where it can begin
        due = {row.id for row in rows if row.lsn <= lsn}
        late = {row.id for before, row in itertools.pairwise(rows) if before.lsn >= lsn}
    else:
        crossing = timedelta(seconds=CROSSING_SECONDS)
        due = {row.id for row in rows if row.committed_at == at or row.committed_at <= at - crossing}
        late = {row.id for row in rows if row.committed_at >= at + crossing}
    return sorted((due - seen.witness) | (late & seen.witness))


def _target_time(target: str) -> datetime | None:
    try:
        return datetime.fromisoformat(target)
    except ValueError:
        return None
