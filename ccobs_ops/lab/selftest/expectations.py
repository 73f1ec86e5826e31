"""What each fault of the lab must lead to. A test compares this table with the registry of faults: none may be missing.

`claims` are `target capability claim`, as incidents are called. A fault without claims only warns: what was promised still
holds, so that it is named by a finding and opens no incident.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ccobs_ops.core.errors import UsageError
from ccobs_ops.lab.selftest.looks import Look

PG = "postgres/observatory"
ETCD = "etcd/observatory"
BACKUPS = "replication/backups"
ARTIFACTS = "replication/artifacts"
ROOT = "terraform/production"

_WINDOW = Look(PG, "window")
_VALIDATION = Look(PG, "validation")
_HEALTH = Look(ETCD, "health")
_SNAPSHOTS = Look(ETCD, "archive")
_DRILL = Look(ETCD, "restore_drill")
_DRIFT = Look(ROOT, "drift")
_SOON = 30.0
"""Seconds for what shows at the next look; more than one look, since the lab's machine may be busy."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the fault `fault` at `at` (the registry's default if empty) leads to within `within` seconds of being injected.

    `looks` show it; one of `claims` must then not be PASSED, and a finding have one of `codes`. `also` are patterns of
    incidents that follow from it besides.
    """

    fault: str
    looks: tuple[Look, ...]
    claims: frozenset[str]
    codes: frozenset[str]
    at: str = ""
    within: float = _SOON
    also: tuple[str, ...] = field(default=())


def _expect(
    fault: str,
    looks: tuple[Look, ...],
    claims: str,
    codes: str,
    *,
    at: str = "",
    within: float = _SOON,
    also: tuple[str, ...] = (),
) -> Expectation:
    """`claims`: names of claims of `looks`, each with its capability (`window.rpo`); `codes`: separated by blanks."""
    of = {look.capability: look.target for look in looks}
    full = [each.partition(".") for each in claims.split()]
    return Expectation(
        fault,
        looks,
        frozenset(f"{of[capability]} {capability} {claim}" for capability, _, claim in full),
        frozenset(codes.split()),
        at,
        within,
        also,
    )


def _damage(fault: str, claims: str, codes: str) -> Expectation:
    """Damage in the archive of PostgreSQL: the window names it; what a restore needs of it is lost to other claims, too."""
    return _expect(fault, (_WINDOW, _VALIDATION), claims, codes, also=(f"{PG} *", f"{BACKUPS} *"))


def _snapshot(fault: str, codes: str) -> Expectation:
    return _expect(fault, (_SNAPSHOTS, _DRILL), "archive.intact", codes, also=(f"{ETCD} *", f"{BACKUPS} *"))


def _drift(fault: str, claims: str, codes: str) -> Expectation:
    return _expect(fault, (_DRIFT,), claims, codes, at=ROOT, also=(f"{ROOT} drift *",))


def _pair(fault: str, pair: str, claims: str, codes: str, **options: object) -> Expectation:
    looks = (Look(pair, "comparison"), Look(pair, "canary"))
    return _expect(fault, looks, claims, codes, also=("replication/* *",), **options)  # pyright: ignore[reportArgumentType]


EXPECTATIONS: tuple[Expectation, ...] = (
    _expect(
        "archiver-stopped",
        (_WINDOW, _VALIDATION),
        "window.rpo validation.rpo",
        "archive_behind",
        within=90,
        also=(f"{PG} *",),
    ),
    _damage("wal-gap", "window.no_wal_gap", "wal_gap"),
    _damage("wal-corrupt", "window.no_wal_gap window.backups_intact", "wal_corrupt"),
    _damage("backup-corrupt", "window.backups_intact", "backup_part_corrupt"),
    _damage("backup-missing", "window.backups_intact", "backup_part_missing"),
    _damage("timeline-history-missing", "window.no_wal_gap validation.exact", "timeline_history_missing"),
    _damage("manifest-missing", "window.backups_intact", "manifest_missing"),
    _expect(
        "store-down",
        (_WINDOW, _VALIDATION, _SNAPSHOTS),
        "window.rpo window.fresh window.no_wal_gap window.backups_intact window.finished archive.intact archive.fresh",
        "not_checked",
        also=("postgres/* *", "etcd/* *", "replication/* *", "terraform/* *"),
    ),
    _expect(
        "canary-stopped",
        (_VALIDATION,),
        "validation.exact validation.rpo",
        "canary_silent",
        within=90,
        also=(f"{PG} *",),
    ),
    _drift("drift-change", "drift.no_drift drift.no_critical_drift", "drift_changed"),
    _drift("drift-delete", "drift.no_drift drift.no_critical_drift", "drift_deleted"),
    _drift("drift-retention", "drift.no_critical_drift", "drift_changed"),
    _drift("drift-untag", "drift.no_critical_drift", "drift_changed"),
    _drift("drift-unmanaged", "drift.coverage", "drift_unmanaged"),
    _drift("state-locked", "drift.complete", "state_locked"),
    _drift("state-corrupt", "drift.complete", "state_unreadable"),
    _drift("provider-crash", "drift.complete", "provider_failed"),
    _drift("credentials-expired", "drift.complete", "credentials_refused"),
    _snapshot("snapshot-truncated", "snapshot_truncated snapshot_corrupt"),
    _snapshot("snapshot-bitflip", "snapshot_corrupt"),
    _snapshot("snapshot-missing", "snapshot_missing"),
    _expect("etcd-member-down", (_HEALTH,), "health.members", "member_down", also=(f"{ETCD} *",)),
    _expect("etcd-quorum-lost", (_HEALTH,), "health.quorum", "quorum_lost", within=90, also=(f"{ETCD} *",)),
    _expect("etcd-nospace", (_HEALTH,), "health.no_alarms", "alarm_nospace", also=(f"{ETCD} *",)),
    _expect("etcd-lagging", (_HEALTH,), "health.members", "no_leader", within=90, also=(f"{ETCD} *",)),
    _expect("certificate-expired", (_HEALTH,), "health.members", "member_down", also=(f"{ETCD} *",)),
    _pair(
        "replication-stopped",
        ARTIFACTS,
        "canary.arriving canary.lag comparison.complete",
        "rpo_breach",
        within=120,
    ),
    _pair("replication-wedged", ARTIFACTS, "comparison.complete", "missing", within=120),
    _pair("replica-delete", BACKUPS, "comparison.complete", "missing", at=BACKUPS),
    _pair("replica-corrupt", BACKUPS, "comparison.content", "content_mismatch", at=BACKUPS),
    _pair("replica-extra", BACKUPS, "comparison.no_extra", "only_in_replica", at=BACKUPS),
    _pair("replica-stale-version", ARTIFACTS, "comparison.complete", "stale_version", at=ARTIFACTS),
    _pair("replica-throttled", BACKUPS, "", "throttled"),
    _pair("replica-down", BACKUPS, "comparison.complete comparison.content canary.watched", "not_checked"),
    _pair("clock-skewed", BACKUPS, "", "clock_skew"),
)


def expectation(fault: str) -> Expectation:
    """What `fault` must lead to. Raises UsageError for one that is not in the table."""
    for each in EXPECTATIONS:
        if each.fault == fault:
            return each
    raise UsageError(f"there is no fault {fault!r}", hint="see them: ccobs-ops lab break --list")
