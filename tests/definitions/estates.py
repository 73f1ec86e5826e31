"""What the tests of the translation into Dagster share; nothing here runs a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from ccobs_ops.assets.postgres import Core
from ccobs_ops.core.exercise import Claim, Exercise, Finding, Phase, Verdict, conclude

TODAY = datetime.now(UTC).date()

INVENTORY = """
version: 1
environment: staging
owners: [platform@example.com]
tags: {estate: ccobs}
stores:
  us: {bucket: ccobs-backups}
postgres:
  observatory:
    dsn: host=db.invalid dbname=observatory user=ccobs
    store: us
    owners: [sre]
    tags: {tier: gold standard}
    objectives: {rto: 20m, rpo: 30s}
    validation: {since: 2026-02-01}
    checks:
      - {name: some_users, sql: select count(*) > 0 from users, expect: true}
  billing:
    dsn: host=db.invalid dbname=billing user=ccobs
    store: us
    validation: {since: 2026-03-01, promote: false, checksums: false, amcheck: false, logical_read: false}
"""


def exercise(
    capability: str,
    claims: dict[str, Verdict],
    *,
    name: str = "observatory",
    findings: tuple[Finding, ...] = (),
    finished_at: datetime | None = None,
) -> Exercise:
    """An exercise whose verdict is what its claims add up to."""
    made = tuple(Claim(claim, verdict, f"why {claim}") for claim, verdict in claims.items())
    finished = finished_at or datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
    return Exercise(
        id=f"{finished:%Y%m%dT%H%M%SZ}-{name}-{capability}",
        target=f"postgres/{name}",
        capability=capability,
        verdict=conclude(made),
        reason="what it found",
        started_at=finished - timedelta(seconds=12),
        finished_at=finished,
        claims=made,
        phases=(Phase("fetch", 1.5, 2048), Phase("replay", 3.0), Phase("fetch", 0.5)),
        measurements={"rto_seconds": 10.0, "canaries_expected": 4182.0},
        findings=findings,
    )


@dataclass
class Stub:
    """Stands for the core's functions: gives the exercises it was told to, and keeps what it was asked.

    The core itself is proven against real servers in tests/integration; only its translation is tested here.
    """

    answers: dict[str, list[Exercise]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def core(self) -> Core:
        return Core(self._take("backup"), self._take("window"), self._take("validation"))

    def _take(self, capability: str) -> Callable[..., Exercise]:
        def function(_ctx: object, name: str, **arguments: object) -> Exercise:
            self.asked.append((capability, name, arguments))
            left = self.answers[capability]
            return left.pop(0) if len(left) > 1 else left[0]

        return function


@dataclass(frozen=True)
class Estate:
    """The code location of one cluster with a stub for its core."""

    stub: Stub
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, job: str, *, day: str | None = None, config: dict[str, object] | None = None):
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=day,
            raise_on_error=False,
            run_config=None
            if config is None
            else {"ops": {f"postgres__observatory__{key}": {"config": one} for key, one in config.items()}},
        )
