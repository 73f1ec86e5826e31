"""A lab's Terraform roots seen through the core's own functions."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Verdict
from ccobs_ops.core.ledger import Event, Ledger
from ccobs_ops.core.terraform import history
from ccobs_ops.core.terraform.approval import approve
from ccobs_ops.core.terraform.remediate import Asked, remediate
from ccobs_ops.core.terraform.scan import scan
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.plan import STATE_BUCKET
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.terraform.estate import state_key
from tests.lab_support import take_down_and_check

TARGET = "postgres/observatory"


@dataclass(frozen=True)
class Roots:
    """One lab with its inventory and ledger open."""

    lab: Lab
    ctx: Context

    def scan(self, name: str = "production", **options: Any) -> Exercise:
        """Scan a root."""
        return scan(self.ctx, name, **options)

    def repair(self, name: str = "production", *, dry_run: bool = False, accept: bool = False) -> Exercise:
        """Put its drift back, confirmed."""
        return remediate(self.ctx, name, Asked(accept, dry_run, name, by="test"))

    def approved_repair(self, name: str = "production", *, accept: bool = False) -> Exercise:
        """Propose, approve, apply."""
        proposed = self.repair(name, accept=accept)
        assert "proposal" in proposed.details, why(proposed)
        approve(self.ctx, proposed.details["proposal"], by="ada", reason="a test")
        return self.repair(name, accept=accept)

    def with_root(self, name: str = "production", **changes: Any) -> Roots:
        """The same lab under an inventory in which some keys of one root are others."""
        roots = dict(self.ctx.inventory.terraform)
        roots[name] = roots[name].model_copy(update=changes)
        inventory = self.ctx.inventory.model_copy(update={"terraform": roots})
        return replace(self, ctx=replace(self.ctx, inventory=inventory))

    def with_policy(self, name: str = "production", **changes: Any) -> Roots:
        """The same lab with another remediation policy for one root."""
        policy = self.ctx.inventory.terraform[name].remediation.model_copy(update=changes)
        return self.with_root(name, remediation=policy)

    def validated(self, *, ago: timedelta = timedelta(0)) -> None:
        """Put a PASSED validation of the linked target into the ledger: proofs are other tests' business."""
        now = datetime.now(UTC) - ago
        claims = (Claim("exact", Verdict.PASSED, "restored"),)
        self.ctx.ledger.record(
            Exercise(
                f"validation-{now.timestamp()}",
                TARGET,
                "validation",
                Verdict.PASSED,
                "restored",
                now,
                now,
                claims,
            )
        )

    def put_back_before(self, address: str, path: str, times: int, name: str = "production") -> None:
        """Put earlier repairs of an attribute into the ledger."""
        for _ in range(times):
            rows = [{"address": address, "type": "", "actions": ["update"], "paths": [path]}]
            now = datetime.now(UTC)
            self.ctx.ledger.record_event(
                Event(
                    f"terraform/{name}", history.APPLIED, "plan", now, {"outcome": "applied", "changes": rows}
                )
            )

    def state(self, name: str = "production") -> dict[str, Any]:
        """The state's object."""
        answer = client(self.lab.plan, "us").get_object(Bucket=STATE_BUCKET, Key=state_key(name))
        return json.loads(answer["Body"].read())

    def retention(self, bucket: str = "observatory-vault", region: str = "us") -> int:
        """For how many days a bucket retains objects, as the store says."""
        found = client(self.lab.plan, region).get_object_lock_configuration(Bucket=bucket)
        return found["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Days"]

    def set_retention(self, days: int, bucket: str = "observatory-vault", region: str = "us") -> None:
        """Change it by hand."""
        client(self.lab.plan, region).put_object_lock_configuration(
            Bucket=bucket,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}},
            },
        )

    def applied(self, name: str = "production") -> int:
        """How many plans of a root were applied, or begun to be, ever."""
        kinds = (history.APPLIED, history.ACCEPTED, "terraform_apply_failed", "terraform_apply_interrupted")
        return sum(
            event.kind in kinds for event in self.ctx.ledger.events(target=f"terraform/{name}", limit=1000)
        )

    @contextlib.contextmanager
    def configured(self, old: str, new: str, name: str = "production") -> Iterator[None]:
        """Another configuration for the length of the block: `old` (a pattern) replaced by `new`."""
        file = self.lab.directory / "terraform" / name / "main.tf"
        before = file.read_text()
        after = re.sub(old, new, before, count=1, flags=re.DOTALL)
        assert after != before, old
        file.write_text(after)
        try:
            yield
        finally:
            file.write_text(before)

    @contextlib.contextmanager
    def broken(self, fault: str, at: str = "terraform/production") -> Iterator[None]:
        """A fault for the length of the block."""
        self.lab.break_(fault, at=at)
        try:
            yield
        finally:
            self.lab.heal(fault)

    def as_plugin(self) -> Roots:
        """The same roots, with the provider started by Terraform itself, as every real one is."""
        found = self
        for name, root in self.ctx.inventory.terraform.items():
            kept = {key: value for key, value in root.environment.items() if key != "TF_REATTACH_PROVIDERS"}
            found = found.with_root(name, environment=kept)
        return found


@contextlib.contextmanager
def roots_in(directory: Path) -> Iterator[Roots]:
    """A lab with Terraform roots in `directory`; down again, and checked, when the block is left."""
    try:
        lab = Lab.up(directory, scale=0.01, services=["terraform"])
        inventory = load(lab.inventory_path)
        with Ledger.of(inventory) as ledger:
            yield Roots(lab, Context(inventory, ledger))
    finally:
        take_down_and_check(directory)


def codes(exercise: Exercise) -> set[str]:
    """The codes of an exercise's findings."""
    return {finding.code for finding in exercise.findings}


def classes(exercise: Exercise) -> dict[str, str]:
    """Address to class of every change that a scan saw."""
    return {row["address"]: row["class"] for row in exercise.details.get("changes", ())}


def why(exercise: Exercise) -> str:
    """An exercise in short, for assertion messages."""
    claims = "; ".join(f"{c.name} {c.verdict.value}: {c.reason}" for c in exercise.claims)
    return f"{exercise.verdict.value}: {exercise.reason} [{claims}] {sorted(codes(exercise))}"
