"""The sensor `terraform_drift`: proposes or repairs what the last scan found, as each root's policy says.

It only reads the ledger. The job that it launches looks again before it acts, and asks every guard itself.
"""

import hashlib
import json
from datetime import UTC, datetime

import dagster as dg

from ccobs_ops.assets.reporting import failures_for_people, proven
from ccobs_ops.core.exercise import Exercise
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.terraform.approval import proposals
from ccobs_ops.core.terraform.refusals import REPAIRED, frozen_until
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_terraform import TerraformRoot
from ccobs_ops.jobs.terraform import REMEDIATE, RemediateConfig

INTERVAL_SECONDS = 60


def terraform_sensor(inventory: Inventory, *, running: bool) -> dg.SensorDefinition:
    """`terraform_drift` for the roots whose policy is `automatic`. On from the start only if `running`."""

    @dg.sensor(
        name="terraform_drift",
        job_name=REMEDIATE,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Launches terraform_remediate for roots with `automatic: true` whose last scan found drift: where an "
        "approval is needed the run proposes a plan, and a further run applies it once it is approved.",
    )
    def drift() -> list[dg.RunRequest] | dg.SkipReason:
        now = datetime.now(UTC)
        requests: list[dg.RunRequest] = []
        reasons: list[str] = []
        with failures_for_people(), Ledger.of(inventory) as ledger:
            for name, root in inventory.terraform.items():
                key, reason = wanted(ledger, name, root, now)
                if key is None:
                    reasons.append(f"{name}: {reason}")
                    continue
                config = RemediateConfig(
                    root=name, dry_run=False, confirm=name, operator="sensor terraform_drift", reason=reason
                )
                requests.append(
                    dg.RunRequest(
                        run_key=key,
                        run_config=dg.RunConfig(ops={"remediate": config}),
                        tags={"ccobs/root": name},
                    )
                )
        return requests or dg.SkipReason("; ".join(reasons))

    return drift


def wanted(ledger: Ledger, name: str, root: TerraformRoot, now: datetime) -> tuple[str | None, str]:
    """The run key of the repair that `name` wants now, or None; and why.

    The key holds the hour, so that a repair that failed is tried again, and the approval, so that it is not waited for.
    """
    policy, target = root.remediation, f"terraform/{name}"
    if not policy.automatic or "remediate" not in root.allow:
        return None, "its policy is not automatic"
    latest = ledger.latest(target, "drift")
    if latest is None or not proven(latest, "complete"):
        return None, "no complete scan"
    rows = [row for row in latest.details.get("changes", ()) if row["open"] and row["class"] in REPAIRED]
    if not rows:
        return None, "no drift that an apply would put back"
    newest = max(datetime.fromisoformat(row.get("when") or row["first_seen"]) for row in rows)
    if now < newest + policy.grace:
        return None, "the grace period is not over"
    if any(frozen_until(freeze, now) for freeze in policy.freeze):
        return None, "nothing is changed in a freeze window"
    state = ""
    if policy.approval:
        waiting = [one for one in proposals(ledger, target) if one.status(now) in ("proposed", "approved")]
        if waiting and waiting[0].status(now) == "proposed":
            return None, f"plan {waiting[0].id} waits for approval"
        state = f"/{waiting[0].id}" if waiting else "/propose"
    return (
        f"{name}/{_digest(latest)}{state}/{now:%Y%m%dT%H}",
        f"{len(rows)} objects differ since {newest:%H:%M} UTC",
    )


def _digest(scan: Exercise) -> str:
    rows = [
        (row["address"], row["class"], [(each["path"], each["after"]) for each in row["attributes"]])
        for row in scan.details.get("changes", ())
        if row["open"]
    ]
    return hashlib.sha256(json.dumps(rows, default=str, sort_keys=True).encode()).hexdigest()[:12]
