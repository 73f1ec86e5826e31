"""`ccobs-ops drill`: what a disaster would take, rehearsed as one plan; who allowed it; what it showed."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ccobs_ops.cli.options import Json, answering, exercising, opened, parsed
from ccobs_ops.core.errors import UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.drill.plan import DrillPlan
    from ccobs_ops.core.exercise import Claim, Exercise
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Rehearse a disaster as one plan: restored in order, measured, cleaned up.",
)

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="The drill's name in the inventory; not needed if there is only one."
    ),
]
Scenario = Annotated[
    str | None, typer.Option("--scenario", metavar="S", help="Rehearse another disaster on the same targets.")
]
At = Annotated[
    str | None,
    typer.Option(help="When the disaster struck, with its time zone: 2026-11-23T02:14:07Z. Default: now."),
]


@app.command("list")
def list_drills(ctx: typer.Context, json: Json = False) -> int:
    """The inventory's drills, and how each went last."""
    from ccobs_ops.cli import output
    from ccobs_ops.core.exercise import rfc3339

    with answering(json), opened(ctx) as (inventory, ledger):
        rows = [
            (name, drill, ledger.latest(f"drill/{name}", "drill")) for name, drill in inventory.drills.items()
        ]
    if json:
        output.print_json(
            {
                "drills": [
                    {
                        "drill": name,
                        "scenario": drill.scenario,
                        "verdict": last.verdict.value if last else None,
                        "exercise": last.id if last else None,
                    }
                    for name, drill, last in rows
                ]
            }
        )
        return 0
    out = output.console()
    if not rows:
        out.print("the inventory has no drill")
        return 0
    table = output.table()
    for title in ("drill", "scenario", "last (UTC)", "verdict"):
        table.add_column(title, overflow="fold")
    for name, drill, last in rows:
        when = rfc3339(last.finished_at)[:19].replace("T", " ") if last else "never run"
        table.add_row(name, drill.scenario, when, output.mark(last.verdict, word=True) if last else "")
    out.print(table)
    return 0


@app.command("plan")
def show_plan(ctx: typer.Context, name: Name = None, scenario: Scenario = None, json: Json = False) -> int:
    """What a run would do, step by step, and whether it may be expected to succeed. Restores nothing.

    Exit status by readiness: 0 ready, 1 not, 3 not known.
    """
    with answering(json), opened(ctx) as (inventory, ledger):
        return _plan(inventory, ledger, _choose(inventory, name), scenario, json=json)


@app.command("run")
def run(
    ctx: typer.Context,
    name: Name = None,
    scenario: Scenario = None,
    at: At = None,
    transaction: Annotated[
        int | None,
        typer.Option(min=3, help="accidental-delete: stop just before this transaction, which did it."),
    ] = None,
    operator: Annotated[str | None, typer.Option(help="Who runs it. Default: your account.")] = None,
    reason: Annotated[str, typer.Option(help="Why it is run; it stands in the report.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--no-dry-run", help="Only print the plan (the default).")
    ] = True,
    json: Json = False,
) -> int:
    """Run a drill: restore every target into a sandbox, in order, and measure how long it takes and what is lost.

    By default it prints the plan: give --no-dry-run to run it. Production is asked nothing, and nothing of it is left.
    """
    from ccobs_ops.core.units import parse_moment

    with answering(json):
        moment = parsed("--at", at, parse_moment)
        if dry_run:
            with opened(ctx) as (inventory, ledger):
                return _plan(inventory, ledger, _choose(inventory, name), scenario, json=json)
        with exercising(ctx) as context:
            from ccobs_ops.core.drill.run import drill
            from ccobs_ops.core.drill.situation import Asked

            asked = Asked(operator or getpass.getuser(), reason, moment, transaction)
            chosen = _choose(context.inventory, name)
            exercise = drill(context, chosen, asked, scenario=scenario, dry_run=False)
    _show(exercise, json=json)
    return exercise.verdict.exit_status


@app.command("approve")
def approve(
    ctx: typer.Context,
    by: Annotated[str, typer.Option(metavar="WHO", help="Who approves it: not who proposed it.")],
    reason: Annotated[str, typer.Option(metavar="WHY", help="Why it may run.")],
    name: Name = None,
    json: Json = False,
) -> int:
    """Approve the run of a drill that waits for it. It is recorded who did, and why; it expires."""
    from ccobs_ops.cli import output

    with answering(json), exercising(ctx) as context:
        from ccobs_ops.core.drill import approval

        found = approval.approve(context, _choose(context.inventory, name), by=by, reason=reason)
        document = found.to_json(context.clock())
    if json:
        output.print_json(document)
    else:
        output.console().print(f"{found.target}: {found.id} is approved by {found.approved_by}")
    return 0


@app.command("report")
def report(
    ctx: typer.Context,
    name: Name = None,
    exercise: Annotated[
        str | None, typer.Option("--exercise", metavar="ID", help="This run; default: the newest one.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The whole report as markdown.")] = False,
    json: Json = False,
) -> int:
    """Show one run of a drill as a timeline, from the ledger.

    `█` are the steps on the critical path: their durations add up to the RTO.
    """
    with answering(json), opened(ctx) as (inventory, ledger):
        found = _found(ledger, f"drill/{_choose(inventory, name)}", exercise)
    if as_markdown and not json:
        from ccobs_ops.core.drill import timeline

        typer.echo(timeline.markdown(found))
    else:
        _show(found, json=json)
    return 0


def _choose(inventory: Inventory, name: str | None) -> str:
    from ccobs_ops.core.drill.plan import choose

    if name is None:
        if len(inventory.drills) != 1:
            known = ", ".join(inventory.drills) or "none"
            raise UsageError("name one of the inventory's drills", hint=f"there are: {known}")
        return next(iter(inventory.drills))
    return choose(inventory, name)


def _found(ledger: Ledger, target: str, prefix: str | None) -> Exercise:
    if prefix is not None:
        matching = [each for each in ledger.find(prefix) if each.target == target]
        if len(matching) == 1:
            return matching[0]
        told = "is ambiguous" if matching else f"is no run of {target}"
        raise UsageError(f"{prefix} {told}", hint=f"ccobs-ops ledger list --target {target}")
    runs = [each for each in ledger.exercises(target=target, capability="drill") if each.details.get("steps")]
    if not runs:
        name = target.partition("/")[2]
        raise UsageError(f"{target} was never run", hint=f"ccobs-ops drill run {name} --no-dry-run")
    return runs[0]


def _plan(inventory: Inventory, ledger: Ledger, name: str, scenario: str | None, *, json: bool) -> int:
    from ccobs_ops.cli import output
    from ccobs_ops.core.drill.plan import plan
    from ccobs_ops.core.drill.readiness import readiness
    from ccobs_ops.core.exercise import utc_now

    planned = plan(inventory, name, scenario=scenario)
    ready, _ = readiness(ledger, planned, now=utc_now())
    if json:
        told: dict[str, Any] = {"verdict": ready.verdict.value, "reason": ready.reason}
        output.print_json(planned.to_json() | {"ready": told})
    else:
        _print_plan(planned, ready)
    return ready.verdict.exit_status


def _print_plan(planned: DrillPlan, ready: Claim) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from ccobs_ops.cli import output
    from ccobs_ops.core.units import format_duration

    out = output.console()
    promised = planned.config.objectives
    out.print(Text.assemble((planned.target, "bold"), f"  {planned.scenario.name}"))
    out.print(Text(planned.scenario.told))
    out.print()
    steps = output.table()
    for title in ("step", "after"):
        steps.add_column(title, overflow="fold")
    for step in planned.steps:
        steps.add_row(step.name, ", ".join(step.needs) or "declared")
    out.print(Padding(steps, (0, 0, 0, 2), expand=False))
    out.print()
    for layer in planned.layers:
        out.print(Text(f"  {layer.target} from store {layer.store}"))
    out.print(
        f"  promised: ready within {format_duration(promised.rto)}, at most {format_duration(promised.rpo)} lost"
    )
    if planned.config.approval:
        out.print("  needs an approval by somebody else")
    out.print(Text.assemble("  ready  ", output.mark(ready.verdict, word=True), f"  {ready.reason}"))
    out.print()
    out.print(Text(f"  $ ccobs-ops drill run {planned.name} --no-dry-run"), soft_wrap=True)


def _show(exercise: Exercise, *, json: bool) -> None:
    """The exercise as JSON, or its timeline and what did not pass."""
    from ccobs_ops.cli import output

    if json:
        output.print_json(exercise.to_json())
        return
    if not exercise.details.get("steps"):
        output.print_exercise(exercise, None, json=False)
        return
    from rich.padding import Padding
    from rich.text import Text

    from ccobs_ops.core.drill import timeline
    from ccobs_ops.core.exercise import Verdict
    from ccobs_ops.core.units import format_seconds

    out = output.console()
    out.print(
        Text.assemble(
            output.mark(exercise.verdict, word=True),
            (f"  {exercise.target}", "bold"),
            f"  {exercise.capability}",
        )
    )
    out.print(Text(exercise.reason))
    out.print()
    rows = output.table(header=False)
    for name, value in timeline.facts(exercise):
        rows.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    out.print(Padding(rows, (0, 0, 0, 2), expand=False))
    out.print()
    for line in timeline.lines(exercise):
        out.print(Text(line), soft_wrap=True)
    out.print()
    steps = {each.step.name for each in timeline.results_of(exercise)}
    shown = [c for c in exercise.claims if c.name not in steps or c.verdict is not Verdict.PASSED]
    claims = output.table(header=False)
    for claim in shown:
        claims.add_row(output.mark(claim.verdict), claim.name, Text(claim.reason, overflow="fold"))
    out.print(Padding(claims, (0, 0, 0, 2), expand=False))
    out.print()
    out.print(Text(f"{exercise.id}, took {format_seconds(exercise.seconds)}", style="dim"))
