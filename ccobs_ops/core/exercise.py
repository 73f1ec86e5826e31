"""The one result type: an exercise, its claims, phases and findings, and how a verdict comes about.

Invariant: a verdict is computed, never set. `conclude` gives PASSED only if there is at least one claim and
every claim PASSED; one FAILED claim makes FAILED; anything else is UNKNOWN. What nobody looked at can
therefore never count as success.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC with microseconds, as RFC 3339 writes it: 2026-11-23T02:14:07.312000Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Verdict(StrEnum):
    """What an exercise found: only evidence gives PASSED."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @property
    def exit_status(self) -> int:
        """0 PASSED, 1 FAILED, 3 UNKNOWN (2 is wrong usage)."""
        return {"PASSED": 0, "FAILED": 1, "UNKNOWN": 3}[self.value]


class Severity(StrEnum):
    """How much a finding matters to recovery."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Phase:
    """A timed part of an exercise. `seconds` is wall time; `bytes` what it moved, where that means something."""

    name: str
    seconds: float
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed: `subject` is the exact segment, object, table or setting."""

    code: str
    severity: Severity
    subject: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing an exercise set out to prove (`exact`, `intact`, `rto`, …) and what came of it."""

    name: str
    verdict: Verdict
    reason: str


def passed(name: str, reason: str) -> Claim:
    """A claim that evidence supports."""
    return Claim(name, Verdict.PASSED, reason)


def failed(name: str, reason: str) -> Claim:
    """A claim that evidence refutes."""
    return Claim(name, Verdict.FAILED, reason)


def unknown(name: str, reason: str) -> Claim:
    """A claim that could not be checked."""
    return Claim(name, Verdict.UNKNOWN, reason)


def conclude(claims: Sequence[Claim]) -> Verdict:
    """The verdict that `claims` add up to; no claim at all is UNKNOWN."""
    if any(claim.verdict is Verdict.FAILED for claim in claims):
        return Verdict.FAILED
    if claims and all(claim.verdict is Verdict.PASSED for claim in claims):
        return Verdict.PASSED
    return Verdict.UNKNOWN


@dataclass(frozen=True, slots=True)
class Exercise:
    """One attempt at a capability on a target. The JSON form is documented in docs/json.md and kept stable."""

    id: str
    target: str
    capability: str
    verdict: Verdict
    reason: str
    started_at: datetime
    finished_at: datetime
    claims: tuple[Claim, ...] = ()
    phases: tuple[Phase, ...] = ()
    measurements: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Wall time from start to finish."""
        return (self.finished_at - self.started_at).total_seconds()

    def claim(self, name: str) -> Claim | None:
        """The claim called `name`, if this exercise made it."""
        return next((claim for claim in self.claims if claim.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "id": self.id,
            "target": self.target,
            "capability": self.capability,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "started_at": rfc3339(self.started_at),
            "finished_at": rfc3339(self.finished_at),
            "claims": [
                {"name": claim.name, "verdict": claim.verdict.value, "reason": claim.reason}
                for claim in self.claims
            ],
            "phases": [
                {"name": phase.name, "seconds": round(phase.seconds, 6)}
                | ({} if phase.bytes is None else {"bytes": phase.bytes})
                for phase in self.phases
            ],
            "measurements": self.measurements,
            "findings": [
                {
                    "code": finding.code,
                    "severity": finding.severity.value,
                    "subject": finding.subject,
                    "message": finding.message,
                    "hint": finding.hint,
                }
                for finding in self.findings
            ],
            "details": self.details,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Exercise:
        """The exercise that `to_json` wrote; unknown keys are ignored so that old readers read new rows."""
        return cls(
            id=document["id"],
            target=document["target"],
            capability=document["capability"],
            verdict=Verdict(document["verdict"]),
            reason=document["reason"],
            started_at=datetime.fromisoformat(document["started_at"]),
            finished_at=datetime.fromisoformat(document["finished_at"]),
            claims=tuple(
                Claim(row["name"], Verdict(row["verdict"]), row["reason"])
                for row in document.get("claims", ())
            ),
            phases=tuple(
                Phase(row["name"], row["seconds"], row.get("bytes")) for row in document.get("phases", ())
            ),
            measurements=dict(document.get("measurements", {})),
            findings=tuple(
                Finding(row["code"], Severity(row["severity"]), row["subject"], row["message"], row["hint"])
                for row in document.get("findings", ())
            ),
            details=dict(document.get("details", {})),
        )


class Recorder:
    """Collects what an exercise finds while it runs, and concludes it once.

    `clock` gives wall-clock times for the record, `timer` seconds for phases; both are injected.
    """

    def __init__(self, target: str, capability: str, *, clock: Clock, timer: Callable[[], float]) -> None:
        self.target = target
        self.capability = capability
        self.clock = clock
        self.timer = timer
        self.started_at = clock()
        stamp = self.started_at.strftime("%Y%m%dT%H%M%SZ")
        self.id = f"{stamp}-{secrets.token_hex(5)}"
        self.claims: list[Claim] = []
        self.phases: list[Phase] = []
        self.measurements: dict[str, float] = {}
        self.findings: list[Finding] = []
        self.details: dict[str, Any] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[PhaseMeter]:
        """Time the block as phase `name`; recorded also when the block raises."""
        meter = PhaseMeter()
        began = self.timer()
        try:
            yield meter
        finally:
            self.phases.append(Phase(name, self.timer() - began, meter.bytes))

    def find(self, code: str, severity: Severity, subject: str, message: str, hint: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(code, severity, subject, message, hint))

    def claim(self, claim: Claim) -> None:
        """Add a claim; one name is claimed once."""
        if any(known.name == claim.name for known in self.claims):
            raise ValueError(f"claim {claim.name!r} was made twice")
        self.claims.append(claim)

    def conclude(self, reason: str = "") -> Exercise:
        """The finished exercise. Without `reason`, the first claim that did not pass explains the verdict."""
        verdict = conclude(self.claims)
        if not reason:
            telling = [claim for claim in self.claims if claim.verdict is verdict]
            reason = telling[0].reason if telling else "nothing was checked"
        return Exercise(
            id=self.id,
            target=self.target,
            capability=self.capability,
            verdict=verdict,
            reason=reason,
            started_at=self.started_at,
            finished_at=self.clock(),
            claims=tuple(self.claims),
            phases=tuple(self.phases),
            measurements=dict(self.measurements),
            findings=tuple(self.findings),
            details=dict(self.details),
        )


@dataclass(slots=True)
class PhaseMeter:
    """What a running phase has moved so far, in bytes; None where that means nothing."""

    bytes: int | None = None

    def add(self, count: int) -> None:
        """Count `count` more bytes."""
        self.bytes = (self.bytes or 0) + count
