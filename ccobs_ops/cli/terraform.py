"""`ccobs-ops terraform`: scan for drift, put it back or accept it, approve plans."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from ccobs_ops.cli.options import Json, answering, choose, exercising, opened
from ccobs_ops.core.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Find drift, say what it does to recovery, put it back by approval.",
)

Name = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="The root's name in the inventory; not needed if there is only one."),
]


@app.command("scan")
def scan(
    ctx: typer.Context,
    name: Name = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every root, as many at a time as there are cores.")
    ] = False,
    json: Json = False,
) -> int:
    """Compare configuration, state and reality of a root, and rank what differs.

    Changes nothing. UNKNOWN when anything could not be read; what was read is still shown.
    """
    from ccobs_ops.cli import output, terraform_output
    from ccobs_ops.core.status import worst
    from ccobs_ops.core.terraform.scan import scan_all

    with answering(json):
        if everything and name is not None:
            raise UsageError("--all and a name contradict each other", hint="give one of the two")
        with exercising(ctx) as context:
            known = list(context.inventory.terraform)
            if everything and not known:
                raise UsageError(
                    "the inventory has no terraform root",
                    hint="name them under `terraform:`; docs/inventory.md",
                )
            names = known if everything else [choose("terraform", known, name)]
            exercises = scan_all(context, names)
    if json:
        output.print_json(
            {"exercises": [exercise.to_json() for exercise in exercises]}
            if everything
            else exercises[0].to_json()
        )
    else:
        for exercise in exercises:
            objectives = context.inventory.terraform[exercise.target.partition("/")[2]].objectives
            terraform_output.print_scan(exercise, objectives, brief=len(exercises) > 1)
        if len(exercises) > 1:
            terraform_output.print_summary(exercises)
    return worst(exercise.verdict for exercise in exercises).exit_status


@app.command("remediate")
def remediate(
    ctx: typer.Context,
    name: Name = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Record the drift in the state instead of putting it back.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--no-dry-run", help="Only say what would be done, or why not.")
    ] = True,
    confirm: Annotated[
        str | None, typer.Option(metavar="NAME", help="The root's name again, to change anything.")
    ] = None,
    json: Json = False,
) -> int:
    """Put drift back to what the configuration says.

    By default it only says what it would do, and every reason against it. To act, give --no-dry-run and --confirm, and allow
    it in the inventory; where an approval is needed the plan then waits for one, and the same command applies it.
    """
    from ccobs_ops.cli import terraform_output
    from ccobs_ops.core.terraform.remediate import Asked
    from ccobs_ops.core.terraform.remediate import remediate as run

    with answering(json), exercising(ctx) as context:
        root = choose("terraform", list(context.inventory.terraform), name)
        exercise = run(context, root, Asked(accept, dry_run, confirm, by=_operator()))
    terraform_output.print_remediation(exercise, context.inventory.terraform[root].objectives, json=json)
    return exercise.verdict.exit_status


@app.command("approve")
def approve(
    ctx: typer.Context,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id, or the beginning of it.")],
    by: Annotated[str, typer.Option(metavar="WHO", help="Who approves it.")],
    reason: Annotated[str, typer.Option(metavar="WHY", help="Why it may be applied.")],
    json: Json = False,
) -> int:
    """Approve a plan that waits.

    It is then applied by the next `remediate`, if nothing has changed until then.
    """
    from ccobs_ops.cli import output
    from ccobs_ops.core.terraform.approval import approve as record

    with answering(json), exercising(ctx) as context:
        proposal = record(context, plan, by=by, reason=reason)
        now = context.clock()
    if json:
        output.print_json(proposal.to_json(now))
    else:
        name = proposal.target.partition("/")[2]
        accept = " --accept" if proposal.mode == "accept" else ""
        out = output.console()
        out.print(
            f"approved: {proposal.id}, by {proposal.approved_by}, until {proposal.expires_at:%H:%M} UTC"
        )
        out.print(
            f"  $ ccobs-ops terraform remediate {name}{accept} --no-dry-run --confirm {name}", soft_wrap=True
        )
    return 0


@app.command("plans")
def plans(
    ctx: typer.Context,
    name: Name = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that do not wait any more.")] = False,
    json: Json = False,
) -> int:
    """List proposed plans: what they would change, who approved them, what came of them."""
    from ccobs_ops.cli import output, terraform_output
    from ccobs_ops.core.exercise import utc_now
    from ccobs_ops.core.terraform.approval import proposals

    now = utc_now()
    with answering(json), opened(ctx) as (inventory, ledger):
        target = None if name is None else f"terraform/{choose('terraform', list(inventory.terraform), name)}"
        found = proposals(ledger, target)
    if not everything:
        found = [one for one in found if one.status(now) in ("proposed", "approved")]
    if json:
        output.print_json({"plans": [one.to_json(now) for one in found]})
    else:
        terraform_output.print_plans(found, now)
    return 0


def _operator() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"somebody@{socket.gethostname()}"
