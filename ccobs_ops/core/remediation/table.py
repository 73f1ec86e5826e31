"""Which repair belongs to which claim: the table that docs/safety.md shows (a test compares the two).

The smallest repair that can make the claim true again. A claim without a row is only looked at again: what it needs
is a person, who is told by the incident. `lasting` marks damage that a repair leaves behind in the archive: all
later moments can be restored again, the damaged ones not, and the incident closes when retention has removed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.incident import Incident


class Action(StrEnum):
    """What can be done about an incident. `look` exercises the claim again and changes nothing."""

    LOOK = "look"
    BACKUP = "backup"
    SNAPSHOT = "snapshot"
    SLOT = "slot"
    OBJECTS = "objects"
    PLAN = "plan"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Rule:
    """The repair for some claims of a capability of a noun; no claims named means all that no other rule has.

    `kinds` are the verdicts that it is a repair for: what could not be checked is looked at again first. `seen_by`
    and `fault` are for the table in the documentation.
    """

    noun: str
    capability: str
    claims: tuple[str, ...]
    action: Action
    fault: str
    does: str
    kinds: tuple[Verdict, ...] = (Verdict.FAILED,)
    lasting: bool = False


_ANY = (Verdict.FAILED, Verdict.UNKNOWN)

TABLE: tuple[Rule, ...] = (
    Rule(
        "postgres",
        "freshness",
        ("backup",),
        Action.BACKUP,
        "the newest backup is too old, or there is none",
        "takes a full backup",
        _ANY,
    ),
    Rule(
        "postgres",
        "freshness",
        ("wal",),
        Action.BACKUP,
        "WAL was lost before it was archived",
        "takes a full backup: all later moments can be restored again",
    ),
    Rule(
        "postgres",
        "backup",
        ("complete", "in_time"),
        Action.BACKUP,
        "a backup failed",
        "takes it again",
        _ANY,
    ),
    Rule(
        "postgres",
        "window",
        ("fresh",),
        Action.BACKUP,
        "no usable backup is young enough",
        "takes a full backup",
    ),
    Rule(
        "postgres",
        "window",
        ("no_wal_gap",),
        Action.BACKUP,
        "WAL is missing or damaged in the archive",
        "takes a full backup",
        lasting=True,
    ),
    Rule(
        "postgres",
        "window",
        ("backups_intact",),
        Action.BACKUP,
        "a backup in the archive is damaged",
        "takes a full backup",
        lasting=True,
    ),
    Rule(
        "postgres",
        "window",
        ("rpo",),
        Action.SLOT,
        "the archive is behind: the archiver is wedged, or its slot lost",
        "ends the stuck connection of the slot, or makes the slot anew",
    ),
    Rule(
        "postgres",
        "validation",
        ("exact", "intact", "data_checks", "writable"),
        Action.BACKUP,
        "a restore does not bring back what it should",
        "takes a full backup, then restores from it",
    ),
    Rule(
        "etcd",
        "freshness",
        ("snapshot",),
        Action.SNAPSHOT,
        "the newest snapshot is too old, or there is none",
        "takes a snapshot",
        _ANY,
    ),
    Rule(
        "etcd",
        "snapshot",
        ("complete", "in_time"),
        Action.SNAPSHOT,
        "a snapshot failed",
        "takes it again",
        _ANY,
    ),
    Rule("etcd", "archive", ("fresh",), Action.SNAPSHOT, "no snapshot is young enough", "takes a snapshot"),
    Rule(
        "etcd",
        "archive",
        ("intact",),
        Action.SNAPSHOT,
        "a snapshot in the archive is damaged",
        "takes a snapshot",
        lasting=True,
    ),
    Rule(
        "etcd",
        "restore_drill",
        ("restorable", "exact", "counts", "identical", "readable"),
        Action.SNAPSHOT,
        "the newest snapshot does not restore",
        "takes a snapshot, then restores it",
    ),
    Rule(
        "replication",
        "comparison",
        ("complete", "content"),
        Action.OBJECTS,
        "objects are missing or differ in the replica",
        "copies exactly these, conditionally; deletes nothing",
    ),
    Rule(
        "replication",
        "sweep",
        ("complete", "content"),
        Action.OBJECTS,
        "the same, found in one folder",
        "copies exactly these, conditionally; deletes nothing",
    ),
    Rule(
        "terraform",
        "drift",
        ("no_drift", "no_critical_drift"),
        Action.PLAN,
        "reality is not what the configuration says",
        "proposes a plan, and applies it once it is approved, or at once where no approval is needed",
    ),
    Rule("ccobs", "watch", ("slot",), Action.SLOT, "the replication slot is lost", "makes the slot anew"),
    Rule(
        "ccobs",
        "watch",
        ("wal", "ship", "canary", "send", "watch"),
        Action.RESTART,
        "an agent is silent",
        "runs the inventory's `restart` command, where it names one",
        _ANY,
    ),
)

ADDS_ONLY = frozenset({Action.LOOK, Action.BACKUP, Action.SNAPSHOT})
"""Repairs that only add, and are allowed by default."""


def rule_for(incident: Incident) -> Rule | None:
    """The row for `incident`; None where nothing but looking again is known."""
    noun = incident.target.partition("/")[0]
    part = incident.claim.rpartition("/")[2]
    for rule in TABLE:
        if (rule.noun, rule.capability) == (noun, incident.capability) and part in rule.claims:
            return rule if incident.kind in rule.kinds else None
    return None


def action_for(incident: Incident) -> Action:
    """The smallest repair for `incident`."""
    rule = rule_for(incident)
    return Action.LOOK if rule is None else rule.action


def subject_of(incident: Incident) -> str:
    """The target that a repair acts on: the incident's own, or that of the agent that a claim of `ccobs/agents` is about."""
    if incident.target.startswith("ccobs/") and incident.claim.count("/") == 2:
        return incident.claim.rpartition("/")[0]
    return incident.target
