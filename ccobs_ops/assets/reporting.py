"""Translate an exercise into what Dagster shows: metadata, check results, a materialization or a failure.

Invariant: an exercise that is not PASSED always turns something red. Either a check that fails, or the step.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Exercise, Verdict, unknown
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.units import format_bytes, format_seconds

MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNKNOWN: "?"}
TRANSIENT = frozenset({"not_checked"})
"""Codes of findings that a second look may well not see again: something could not be reached."""

Event = dg.MaterializeResult[Any] | dg.AssetCheckResult | dg.AssetObservation


@contextmanager
def failures_for_people() -> Iterator[None]:
    """Turn an OpsError into a Dagster failure that shows its sentence and hint, and is not retried."""
    try:
        yield
    except OpsError as error:
        raise dg.Failure(REDACT(str(error)), allow_retries=False) from error


def report(
    context: dg.AssetExecutionContext,
    exercise: Exercise,
    *,
    claims: Sequence[str],
    stands: bool,
    more: Mapping[str, dg.MetadataValue[Any]] | None = None,
) -> Iterator[Event]:
    """Yield the events of `exercise` for the asset that `context` runs.

    `claims` are the asset's checks; one that the exercise did not make fails as UNKNOWN. `stands` tells whether what
    the asset stands for exists now: if so it is materialized, otherwise an observation carries the metadata and the
    step fails. `more` is metadata besides the exercise's own. Raises dg.Failure, never to be retried.
    """
    checks = [check_result(exercise, name) for name in claims]
    metadata = exercise_metadata(exercise) | dict(more or {})
    silent = exercise.verdict is not Verdict.PASSED and all(check.passed for check in checks)
    if stands and not silent:
        yield dg.MaterializeResult[Any](metadata=metadata, check_results=checks)
        return
    yield from checks
    yield dg.AssetObservation(
        context.asset_key,
        description=REDACT(exercise.reason),
        metadata=metadata,
        partition=context.partition_key if context.assets_def.partitions_def is not None else None,
    )
    raise dg.Failure(
        f"{exercise.verdict.value}: {REDACT(exercise.reason)}", metadata=metadata, allow_retries=False
    )


def check_result(exercise: Exercise, name: str) -> dg.AssetCheckResult:
    """The claim called `name` as a check: it passes only if the claim is there and PASSED."""
    claim = exercise.claim(name) or unknown(name, "the exercise ended before this could be checked")
    passed = claim.verdict is Verdict.PASSED
    reason = REDACT(claim.reason)
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=reason if passed else f"{claim.verdict.value}: {reason}",
        metadata={"verdict": claim.verdict.value, "exercise": exercise.id},
    )


def proven(exercise: Exercise, claim: str) -> bool:
    """Whether `exercise` made the claim called `claim` and it PASSED."""
    made = exercise.claim(claim)
    return made is not None and made.verdict is Verdict.PASSED


def transient(exercise: Exercise) -> bool:
    """Whether trying again soon makes sense: nothing was refuted, and something could only not be reached."""
    return exercise.verdict is Verdict.UNKNOWN and any(
        finding.code in TRANSIENT for finding in exercise.findings
    )


def exercise_metadata(exercise: Exercise) -> dict[str, dg.MetadataValue[Any]]:
    """Every measurement and phase as a number that the UI plots, a summary to read, and where to find the rest."""
    numbers: dict[str, dg.MetadataValue[Any]] = {
        name: _number(name, value) for name, value in sorted(exercise.measurements.items())
    }
    phases: dict[str, float] = {}
    for phase in exercise.phases:
        phases[phase.name] = phases.get(phase.name, 0.0) + phase.seconds
    numbers |= {
        f"phase_{name}_seconds": dg.MetadataValue.float(round(seconds, 3)) for name, seconds in phases.items()
    }
    return {
        "summary": dg.MetadataValue.md(REDACT(summary(exercise))),
        "verdict": dg.MetadataValue.text(exercise.verdict.value),
        "exercise": dg.MetadataValue.text(exercise.id),
        "exercise_seconds": dg.MetadataValue.float(round(exercise.seconds, 3)),
        "findings": dg.MetadataValue.int(len(exercise.findings)),
        **numbers,
    }


def _number(name: str, value: float) -> dg.MetadataValue[Any]:
    # by name, not by value: one plot must not change its type when 10.0 seconds come along
    counts = not name.endswith(("_seconds", "_ratio", "_per_second")) and float(value).is_integer()
    return dg.MetadataValue.int(int(value)) if counts else dg.MetadataValue.float(float(value))


def summary(exercise: Exercise) -> str:
    """The exercise as markdown, the verdict first."""
    lines = [
        f"**{MARKS[exercise.verdict]} {exercise.verdict.value}** `{exercise.target}` {exercise.capability}: "
        + exercise.reason,
        "",
    ]
    lines += _table(
        ("claim", "verdict", "why"),
        [
            (claim.name, f"{MARKS[claim.verdict]} {claim.verdict.value}", claim.reason)
            for claim in exercise.claims
        ],
    )
    lines += _table(
        ("phase", "took", "moved"),
        [
            (
                phase.name,
                format_seconds(phase.seconds),
                "" if phase.bytes is None else format_bytes(phase.bytes),
            )
            for phase in exercise.phases
        ],
    )
    lines += _table(
        ("finding", "severity", "subject", "what", "hint"),
        [
            (found.code, found.severity.value, f"`{found.subject}`", found.message, found.hint)
            for found in exercise.findings
        ],
    )
    return "\n".join([*lines, f"`ccobs-ops ledger show {exercise.id}`"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in cells),
        "",
    ]


def owners_for_dagster(owners: Sequence[str]) -> list[str]:
    """Owners as Dagster takes them: an address as it is, anything else as a team."""
    return [owner if "@" in owner or owner.startswith("team:") else f"team:{owner}" for owner in owners]


def tags_for_dagster(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags with the letters that Dagster does not take replaced by `_`, and cut to 63."""
    return {_tag(key): _tag(value) for key, value in tags.items()}


def _tag(text: str) -> str:
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "_" for letter in text
    )[:63]
