"""What is done about an incident, by the functions that an operator uses, and how its claim is exercised again.

Everything that changes a target asks `guard.permit` first, and the function that does it asks its own guard again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Recorder, failed, passed
from ccobs_ops.core.guard import permit
from ccobs_ops.core.process import environment, run
from ccobs_ops.core.remediation.table import ADDS_ONLY, Action, subject_of
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.incident import Incident
    from ccobs_ops.inventory import Inventory

_RESTART_SECONDS = 180.0
_ALIVE_SECONDS = 90.0
_POLL_SECONDS = 0.5
_JUST_NOW = timedelta(minutes=5)
"""What a lag is judged over before and after a repair: an outage that is over must not be there any more."""


def allowed(inventory: Inventory, subject: str) -> frozenset[str]:
    """The repairs that the inventory allows at the target `subject`.

    What overwrites or removes something also needs the target's own `allow`: a repair of objects `repair`, a plan
    `remediate`. `repair.automatic` of a pair and `remediation.automatic` of a root say the same as the policy's `allow`.
    """
    granted = set(inventory.remediation.of(subject).allow)
    noun, _, name = subject.partition("/")
    if noun == "replication" and (pair := inventory.replication.get(name)) is not None:
        if pair.repair.automatic:
            granted.add(Action.OBJECTS.value)
        if "repair" not in pair.allow:
            granted.discard(Action.OBJECTS.value)
    if noun == "terraform" and (root := inventory.terraform.get(name)) is not None:
        if root.remediation.automatic:
            granted.add(Action.PLAN.value)
        if "remediate" not in root.allow:
            granted.discard(Action.PLAN.value)
    if not inventory.remediation.restart_of(subject):
        granted.discard(Action.RESTART.value)
    return frozenset(granted)


def look(ctx: Context, incident: Incident) -> Exercise | None:
    """Exercise the claim of `incident` again; None where only another process can (Dagster's own facts).

    Raises UsageError when the inventory no longer has its target.
    """
    noun, _, name = incident.target.partition("/")
    if noun == "ccobs":
        from ccobs_ops.core.watch.agents import watch_agents  # noqa: PLC0415

        return watch_agents(ctx, always=True) if incident.target == "ccobs/agents" else None
    if name not in getattr(ctx.inventory, noun, {}):
        raise UsageError(f"the inventory no longer has {incident.target}", hint="the incident stays as it is")
    found = _LOOKS.get((noun, incident.capability))
    return None if found is None else found(ctx, name, incident)


def act(
    ctx: Context,
    incident: Incident,
    action: Action,
    *,
    before: Exercise | None,
    confirmation: str | None,
    by: str,
) -> Exercise:
    """Do `action` for `incident`. `before` is what was seen right before; `confirmation` has to be the target acted on.

    Raises RefusedError when the guard refuses.
    """
    subject = subject_of(incident)
    grants: Collection[str] = allowed(ctx.inventory, subject) | {
        each.value for each in ADDS_ONLY if each is Action.LOOK
    }
    permit(action.value, subject, allowed=grants, dry_run=False, confirmation=confirmation)
    name = subject.partition("/")[2]
    if action is Action.BACKUP:
        from ccobs_ops.core.postgres.backup import back_up  # noqa: PLC0415

        return back_up(ctx, name, incremental=False)
    if action is Action.SNAPSHOT:
        from ccobs_ops.core.etcd.snapshot import take_snapshot  # noqa: PLC0415

        return take_snapshot(ctx, name)
    if action is Action.SLOT:
        from ccobs_ops.core.postgres.slot import renew  # noqa: PLC0415

        return renew(ctx, name)
    if action is Action.OBJECTS:
        from ccobs_ops.core.replication.repair import repair  # noqa: PLC0415

        seen = before.id if before is not None else None
        return repair(ctx, name, dry_run=False, confirmation=name, comparison=seen)
    if action is Action.PLAN:
        from ccobs_ops.core.terraform.remediate import Asked, remediate  # noqa: PLC0415

        return remediate(ctx, name, Asked(dry_run=False, confirmation=name, by=by))
    if action is Action.RESTART:
        return restart(ctx, subject)
    raise AssertionError(f"{action} does nothing")


def restart(ctx: Context, subject: str) -> Exercise:
    """Run the inventory's command that starts the agent of `subject` again, and wait for its signs of life.

    Capability `restart`, claim `alive`. The command gets no shell and a small environment; what it prints is redacted.
    """
    argv = ctx.inventory.remediation.restart_of(subject)

    def body(rec: Recorder) -> str:
        from ccobs_ops.core.watch.agents import parts  # noqa: PLC0415

        if not argv:
            raise UsageError(f"the inventory names no command that restarts the agent of {subject}")
        wanted = [part for target, part, _ in parts(ctx.inventory) if target == subject]
        with rec.phase("command"):
            run(list(argv), deadline=_RESTART_SECONDS, env=environment(), cwd=ctx.inventory.path.parent)
        with rec.phase("alive"):
            silent = _await_beats(ctx, subject, wanted, rec.started_at)
        if silent:
            told = f"{', '.join(silent)} gave no sign of life within {format_seconds(_ALIVE_SECONDS)} of the restart"
            rec.claim(failed("alive", told))
            return told
        rec.claim(passed("alive", f"{', '.join(wanted)} of {subject} give signs of life again"))
        return f"the agent of {subject} was restarted"

    return attempt(ctx, subject, "restart", "alive", body)


def _await_beats(ctx: Context, subject: str, wanted: list[str], since: Any) -> list[str]:
    until = ctx.timer() + _ALIVE_SECONDS
    while True:
        silent = [
            part
            for part in wanted
            if (beat := ctx.ledger.heartbeat(subject, part)) is None
            or beat.at < since
            or beat.details.get("error")
        ]
        if not silent or ctx.timer() > until:
            return silent
        ctx.sleep(_POLL_SECONDS)


def _detail(ctx: Context, incident: Incident, name: str) -> str:
    """What the exercise that opened `incident` noted as `name`, "" if nothing."""
    found = ctx.ledger.find(incident.opened_by)
    return str(found[0].details.get(name) or "") if found else ""


def _window(ctx: Context, name: str, _incident: Incident) -> Exercise:
    from ccobs_ops.core.postgres.window import examine  # noqa: PLC0415

    return examine(ctx, name)


def _validation(ctx: Context, name: str, incident: Incident) -> Exercise:
    from ccobs_ops.core.postgres.validate import validate  # noqa: PLC0415

    day = _detail(ctx, incident, "day")
    store = _detail(ctx, incident, "store") if incident.capability == "replica_validation" else ""
    past = bool(day) and date.fromisoformat(day) != ctx.clock().date()
    return validate(ctx, name, day=date.fromisoformat(day) if past else None, store=store or None)


def _freshness(ctx: Context, _name: str, incident: Incident) -> Exercise | None:
    from ccobs_ops.core.watch import freshness  # noqa: PLC0415
    from ccobs_ops.core.watch.record import FRESHNESS, keep  # noqa: PLC0415

    judged = freshness.judge(ctx.inventory, ctx.ledger, incident.target, ctx.clock())
    return keep(ctx, incident.target, FRESHNESS, judged, always=True)


def _etcd_health(ctx: Context, name: str, _incident: Incident) -> Exercise:
    from ccobs_ops.core.etcd.health import examine  # noqa: PLC0415

    return examine(ctx, name)


def _etcd_archive(ctx: Context, name: str, _incident: Incident) -> Exercise:
    from ccobs_ops.core.etcd.listing import look_over  # noqa: PLC0415

    return look_over(ctx, name)


def _etcd_drill(ctx: Context, name: str, _incident: Incident) -> Exercise:
    from ccobs_ops.core.etcd.drill import drill  # noqa: PLC0415

    return drill(ctx, name)


def _comparison(ctx: Context, name: str, incident: Incident) -> Exercise:
    from ccobs_ops.core.replication.compare import compare  # noqa: PLC0415

    prefix = _detail(ctx, incident, "prefix") if incident.capability == "sweep" else ""
    return compare(ctx, name, prefix=prefix.removeprefix(ctx.inventory.replication[name].prefix))


def _lag(ctx: Context, name: str, _incident: Incident) -> Exercise:
    from ccobs_ops.core.replication.lag import measure  # noqa: PLC0415

    window = min(ctx.inventory.replication[name].canary.window, _JUST_NOW)
    return measure(ctx, name, window=window)


def _drift(ctx: Context, name: str, _incident: Incident) -> Exercise:
    from ccobs_ops.core.terraform.scan import scan  # noqa: PLC0415

    return scan(ctx, name)


_LOOKS: dict[tuple[str, str], Callable[[Any, str, Any], Exercise | None]] = {
    ("postgres", "window"): _window,
    ("postgres", "validation"): _validation,
    ("postgres", "replica_validation"): _validation,
    ("postgres", "freshness"): _freshness,
    ("etcd", "freshness"): _freshness,
    ("etcd", "health"): _etcd_health,
    ("etcd", "archive"): _etcd_archive,
    ("etcd", "restore_drill"): _etcd_drill,
    ("replication", "comparison"): _comparison,
    ("replication", "sweep"): _comparison,
    ("replication", "canary"): _lag,
    ("terraform", "drift"): _drift,
}
LOOKS = frozenset(_LOOKS) | {("ccobs", "watch")}
"""Noun and capability of all that can be exercised again from here. A backup is its own proof: taking it is looking."""
