"""Which results of a report bear on which requirement. They support what an auditor judges; they do not decide it.

Read in: AICPA Trust Services Criteria 2017 (points of focus of 2022); ISO 22301:2019; Regulation (EU) 2022/2554 (DORA). The
requirements are told in our words: the texts themselves are the authority.
"""

from __future__ import annotations

from dataclasses import dataclass

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.report.model import Report


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement, what of the report supports it with figures, and what the report does not speak of."""

    standard: str
    clause: str
    asks: str
    supports: tuple[str, ...]
    not_covered: str


def mapping(report: Report) -> tuple[Requirement, ...]:
    """The requirements with what this report holds for each. Nothing measured supports nothing, and is said so."""
    backups = _counted(report, ("backup", "snapshot"), "backups and snapshots taken")
    restores = _counted(
        report, ("validation", "restore_drill", "replica_validation"), "restores started and proven"
    )
    copies = _counted(report, ("comparison",), "comparisons with the other region")
    drifts = _counted(report, ("drift",), "scans of the infrastructure for drift")
    proven = sum(each.of(Verdict.PASSED) for each in report.calendars if each.kind == "recoverable")
    days = sum(len(each.days) for each in report.calendars if each.kind == "recoverable")
    calendar = (
        f"{proven} of {days} days proven restorable, over all databases"
        if days
        else "no database in the inventory"
    )
    promised = [each for each in report.targets if each.rto_objective_seconds is not None]
    kept = sum(
        1
        for each in promised
        if each.rto_seconds is not None and each.rto_seconds <= (each.rto_objective_seconds or 0)
    )
    objectives = f"{kept} of {len(promised)} targets last restored within their recovery time objective"
    total = len(report.drills) + report.drills_left_out
    passed = sum(1 for each in report.drills if each.verdict is Verdict.PASSED)
    drills = (
        f"{total} drills; of the newest {len(report.drills)}, {passed} PASSED"
        if total
        else "no drill was run"
    )
    events = len(report.incidents) + report.incidents_left_out
    closed = sum(1 for each in report.incidents if each.verified_at is not None)
    incidents = (
        f"{events} incidents; of the newest {len(report.incidents)}, {closed} closed by a new proof"
        if events
        else "no incident was recorded"
    )
    chain = f"ledger's chain: {report.evidence.verdict}, {report.evidence.reason}"
    return (
        Requirement(
            "SOC 2", "A1.2",
            "Data backup and recovery infrastructure are designed, operated, maintained and monitored to meet objectives.",
            (backups, copies, drifts),
            "environmental protections, capacity, and who approved the design",
        ),
        Requirement(
            "SOC 2", "A1.3",
            "Recovery plan procedures are tested; backup data is tested for integrity and completeness.",
            (restores, calendar, drills),
            "tests of the organisation's continuity plan beyond the systems in the inventory",
        ),
        Requirement(
            "SOC 2", "CC7.5",
            "Activities to recover from identified security incidents are developed and carried out.",
            (incidents, drills),
            "incidents of which no exercise tells, root causes, and changes made to prevent a recurrence",
        ),
        Requirement(
            "ISO 22301:2019", "8.5",
            "An exercise programme at planned intervals, on appropriate scenarios, with reports and follow-up, validates "
            "continuity solutions.",
            (drills, restores, incidents),
            "exercises of people and premises, and the management's review",
        ),
        Requirement(
            "DORA", "Art. 12(1), (2)",
            "Backup scope and frequency, restoration procedures and methods; both tested periodically, without endangering "
            "data.",
            (backups, restores),
            "the written policies, and how critical each datum is",
        ),
        Requirement(
            "DORA", "Art. 12(3)",
            "Backup data is restored on systems physically and logically segregated from the source.",
            (_claimed(report),),
            "physical segregation: sandboxes of this tool are segregated logically",
        ),
        Requirement(
            "DORA", "Art. 12(6)",
            "Recovery time and recovery point objectives for each function, and that they are met in extreme scenarios.",
            (objectives, drills),
            "how the objectives were derived from the business",
        ),
        Requirement(
            "DORA", "Art. 12(7)",
            "On recovery, multiple checks and reconciliations ensure the highest integrity of data.",
            (restores, copies, chain),
            "reconciliations with external parties",
        ),
    )  # fmt: skip


def _counted(report: Report, capabilities: tuple[str, ...], what: str) -> str:
    found = [
        one.counts for each in report.targets for one in each.capabilities if one.capability in capabilities
    ]
    done, passed = sum(each.all for each in found), sum(each.passed for each in found)
    if not done:
        return f"no {what} in this time"
    return f"{done:,} {what}: {passed:,} PASSED, {sum(each.failed for each in found):,} FAILED, " + (
        f"{sum(each.unknown for each in found):,} UNKNOWN"
    )


def _claimed(report: Report) -> str:
    restored = sum(
        one.counts.passed
        for each in report.targets
        for one in each.capabilities
        if one.capability in ("validation", "restore_drill")
    )
    if not restored:
        return "no restore PASSED in this time"
    return (
        f"{restored:,} restores PASSED with the claim that the copy could reach nothing outside its sandbox"
    )
