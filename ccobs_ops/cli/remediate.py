"""`ccobs-ops remediate`: the smallest repair for an incident, as the sensor would do it; and what is due."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ccobs_ops.cli.options import Json, answering, exercising

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.remediation.run import Due

app = typer.Typer(rich_markup_mode=None)


@app.command()
def remediate(
    ctx: typer.Context,
    incident: Annotated[
        str | None,
        typer.Argument(
            metavar="INCIDENT", help="Its id, or the beginning of it. Without: what is due for all."
        ),
    ] = None,
    dry_run: Annotated[
        bool | None,
        typer.Option(
            "--dry-run/--no-dry-run", help="Only say what would be done. Default without --confirm."
        ),
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="TARGET", help="The target that is acted on, to do it for real.")
    ] = None,
    reset_breaker: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="Close the circuit breaker of this target, on record, and do nothing else."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Look again at an incident, do the smallest repair that the inventory allows, and look whether it helped.

    By default it only says what that is. Attempts, back-off and breaker bind the machine, not you; the inventory's
    `allow` binds both. Exit status: 0 proven again or nothing to do, 1 it did not help, 3 not proven yet.
    """
    from ccobs_ops.cli import output
    from ccobs_ops.cli.watch import remedied_json
    from ccobs_ops.core.remediation import policy
    from ccobs_ops.core.remediation.run import remediate as run

    with answering(json), exercising(ctx) as context:
        if reset_breaker is not None:
            return _reset(context, reset_breaker)
        if incident is None:
            return _show_due(context, json=json)
        dry = confirm is None if dry_run is None else dry_run
        done = run(context, incident, dry_run=dry, confirmation=confirm, by=who())
    if json:
        output.print_json(remedied_json(done))
    else:
        print(f"{done.incident.id}  {done.incident.key}: {done.incident.state.value}")
        print(f"{done.action.value} of {done.subject}: {done.outcome}: {done.reason}")
        for name, exercise in (("before", done.before), ("done", done.done), ("after", done.after)):
            if exercise is not None:
                print(f"  {name:<7}{output.MARKS[exercise.verdict]} {exercise.capability}: {exercise.reason}")
        if done.outcome == "planned":
            print(f"HINT: to do it: ccobs-ops remediate {done.incident.id} --confirm {done.subject}")
    if done.outcome in policy.BAD:
        return 1
    return 3 if done.outcome in (policy.REPAIRED, policy.WAITING) else 0


def who() -> str:
    """The account that gives the command, for the record."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _reset(context: Context, target: str) -> int:
    from ccobs_ops.core.errors import UsageError
    from ccobs_ops.core.remediation import history
    from ccobs_ops.core.status import objectives_of

    if objectives_of(context.inventory, target) is None:
        raise UsageError(f"the inventory has no target {target}", hint="see them: ccobs-ops status")
    history.reset(context, target, by=who())
    print(f"the breaker of {target} is closed; the next attempt may be made")
    return 0


def _show_due(context: Context, *, json: bool) -> int:
    from ccobs_ops.cli import output
    from ccobs_ops.core.remediation.run import catch_up, due

    catch_up(context)
    found = due(context)
    if json:
        output.print_json({"due": [_row(each) for each in found]})
        return 0
    for each in found:
        kind, told = _told(each)
        print(f"{each.incident.id}  {each.incident.key}\n    {kind}: {told}")
    if not found:
        print("no incident is open")
    return 0


def _told(one: Due) -> tuple[str, str]:
    from ccobs_ops.core.remediation.policy import Act, GiveUp

    decision = one.decision
    if isinstance(decision, Act):
        return "due", f"{decision.action.value} of {one.subject}, attempt {decision.number}"
    if isinstance(decision, GiveUp):
        return "left to you", decision.reason + (f"\n    HINT: {decision.hint}" if decision.hint else "")
    return "waits", decision.reason


def _row(one: Due) -> dict[str, Any]:
    from ccobs_ops.core.incidents import to_json
    from ccobs_ops.core.remediation.policy import Act, GiveUp

    decision = one.decision
    if isinstance(decision, Act):
        told: dict[str, Any] = {
            "decision": "act",
            "action": decision.action.value,
            "attempt": decision.number,
        }
    elif isinstance(decision, GiveUp):
        told = {"decision": "give_up", "reason": decision.reason, "hint": decision.hint}
    else:
        told = {"decision": "wait", "reason": decision.reason, "until": decision.until}
    return {"incident": to_json(one.incident), "target": one.subject} | told
