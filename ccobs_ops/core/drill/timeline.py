"""A drill as a timeline: lines for a terminal of 80 columns, or markdown. Made of the exercise in the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence

from ccobs_ops.core.drill.step import Result
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.units import format_seconds

MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNKNOWN: "?"}
_BAR = 28


def results_of(exercise: Exercise) -> list[Result]:
    """The steps of a drill's exercise. Raises UsageError for one that ended before there were any."""
    rows = exercise.details.get("steps")
    if not rows:
        raise UsageError(
            f"{exercise.id} took no step: {exercise.reason}", hint=f"ccobs-ops ledger show {exercise.id}"
        )
    return [Result.from_json(row) for row in rows]


def lines(exercise: Exercise) -> list[str]:
    """The timeline in at most 80 columns: `█` on the critical path, `▒` beside it, `·` not taken."""
    results = results_of(exercise)
    path = set(exercise.details["critical_path"])
    whole = max((each.finished_seconds or 0.0 for each in results), default=0.0)
    width = min(max(len(each.step.name) for each in results), 38)
    found: list[str] = []
    for each in results:
        bar = _bar(each, whole, "█" if each.step.name in path else "▒")
        took = format_seconds(each.seconds) if each.started_seconds is not None else "not taken"
        name = each.step.name if len(each.step.name) <= width else each.step.name[: width - 1] + "…"
        found.append(f"{MARKS[each.outcome.verdict]} {name:<{width}} {bar} {took:>9}")
    return found


def _bar(result: Result, whole: float, letter: str) -> str:
    if result.started_seconds is None or result.finished_seconds is None or whole <= 0:
        return "·" + " " * (_BAR - 1)
    first = min(int(result.started_seconds / whole * _BAR), _BAR - 1)
    last = max(first + 1, min(_BAR, round(result.finished_seconds / whole * _BAR)))
    return " " * first + letter * (last - first) + " " * (_BAR - last)


def facts(exercise: Exercise) -> list[tuple[str, str]]:
    """What stands above the timeline: who, why, when, how long, how much."""
    told = exercise.details
    rto, rpo = told.get("rto_seconds"), told.get("rpo_seconds")
    return [
        ("scenario", str(told.get("scenario", ""))),
        (
            "declared",
            f"{told.get('declared_at', '')}" + (f" by {told['operator']}" if told.get("operator") else ""),
        ),
        ("why", str(told.get("reason") or "not said")),
        ("recovery point", str(told.get("recovery_point") or "none")),
        ("RTO", format_seconds(rto) if rto is not None else "the service was not ready"),
        ("RPO", format_seconds(rpo) if rpo is not None else "not known"),
        ("critical path", " → ".join(told.get("critical_path", ())) or "none"),
    ]


def markdown(exercise: Exercise) -> str:
    """The whole report as markdown."""
    results = results_of(exercise)
    path = set(exercise.details["critical_path"])
    text = [
        f"# {MARKS[exercise.verdict]} {exercise.verdict.value}: {exercise.target}",
        "",
        exercise.reason,
        "",
        *_table(("", ""), facts(exercise)),
        "## Timeline",
        "",
        "Seconds count from the declaration; the steps of the critical path are bold.",
        "",
        *_table(
            ("step", "target", "from", "to", "took", "verdict", "why", "exercise"),
            [
                (
                    f"**{each.step.name}**" if each.step.name in path else each.step.name,
                    each.step.target,
                    _offset(each.started_seconds),
                    _offset(each.finished_seconds),
                    f"{each.seconds:.2f}" if each.started_seconds is not None else "",
                    each.outcome.verdict.value,
                    each.outcome.reason,
                    f"`{each.outcome.exercise}`" if each.outcome.exercise else "",
                )
                for each in results
            ],
        ),
        "## Claims",
        "",
        *_table(
            ("claim", "verdict", "why"),
            [(claim.name, claim.verdict.value, claim.reason) for claim in exercise.claims],
        ),
        f"Exercise `{exercise.id}`; its evidence: `ccobs-ops ledger show {exercise.id}`.",
    ]
    return "\n".join(text)


def _offset(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in cells),
        "",
    ]
