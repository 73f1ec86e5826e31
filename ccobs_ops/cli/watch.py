"""`ccobs-ops watch`: what Dagster's sensors `watch`, `incidents` and `remediation` do, once, without Dagster running."""

from __future__ import annotations

import json as json_module
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ccobs_ops.cli.options import Json, answering, exercising, options

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise
    from ccobs_ops.core.remediation.run import Remedied
    from ccobs_ops.core.watch.dagster import Facts

app = typer.Typer(rich_markup_mode=None)

_FACTS_SECONDS = 120.0


@app.command()
def watch(
    ctx: typer.Context,
    dagster_home: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also look at the Dagster instance there: daemons, schedules, runs. Default: $DAGSTER_HOME.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Also do the repairs that are due and that the inventory allows.")
    ] = False,
    json: Json = False,
) -> int:
    """Look once at agents, freshness and Dagster itself, and bring the incidents up to date.

    For cron or a systemd timer: a dead daemon runs no sensor. Records what changed. Exit status by the worst that was seen.
    """
    from ccobs_ops.cli import output
    from ccobs_ops.core.status import worst

    home = dagster_home or (Path(os.environ["DAGSTER_HOME"]) if os.environ.get("DAGSTER_HOME") else None)
    with answering(json), exercising(ctx) as context:
        inventory = options(ctx).path().resolve()
        seen = _look(context, home, inventory)
        news, done = _loop(context, repair=repair)
    verdict = worst(each.verdict for each in seen)
    if json:
        output.print_json(
            {
                "verdict": verdict.value,
                "exercises": [each.to_json() for each in seen],
                "transitions": [
                    {"name": each.name, "incident": each.incident.id, "key": each.incident.key}
                    for each in news
                ],
                "repairs": [remedied_json(each) for each in done],
            }
        )
        return verdict.exit_status
    for each in seen:
        print(f"{output.MARKS[each.verdict]} {each.target} {each.capability}: {each.reason}")
        for finding in each.findings:
            print(f"    {finding.message}")
    for transition in news:
        print(f"{transition.name}: {transition.incident.id} {transition.incident.key}")
    for one in done:
        print(f"{one.action.value} of {one.subject}: {one.outcome}: {one.reason}")
    return verdict.exit_status


def _look(context: Context, home: Path | None, inventory: Path) -> list[Exercise]:
    """Look at everything; what was not worth a new row is shown as it was last recorded."""
    from ccobs_ops.core.watch.agents import watch_agents
    from ccobs_ops.core.watch.dagster import watch_dagster
    from ccobs_ops.core.watch.freshness import TAKEN, watch_freshness
    from ccobs_ops.core.watch.record import AGENTS, DAGSTER, FRESHNESS, WATCH

    watch_agents(context)
    watch_freshness(context)
    names = [(AGENTS, WATCH)]
    names += [(f"{noun}/{name}", FRESHNESS) for noun in TAKEN for name in getattr(context.inventory, noun)]
    if home is not None:
        watch_dagster(context, lambda: facts(home, inventory))
        names.append((DAGSTER, WATCH))
    found = [context.ledger.latest(*each) for each in names]
    return [each for each in found if each is not None]


def _loop(context: Context, *, repair: bool) -> tuple[list[Any], list[Remedied]]:
    """Bring incidents up to date, and do what is due where that is asked for; one target after the other."""
    from ccobs_ops.core.errors import OpsError
    from ccobs_ops.core.loop import catch_up
    from ccobs_ops.core.remediation.run import due, in_order, remediate

    news = catch_up(context)
    done: list[Remedied] = []
    if repair and context.inventory.remediation.automatic:
        for one in in_order(due(context)):
            try:
                done.append(
                    remediate(
                        context,
                        one.incident.id,
                        dry_run=False,
                        confirmation=one.subject,
                        by="ccobs-ops watch",
                        by_hand=False,
                    )
                )
            except OpsError as error:
                print(f"error: {one.subject}: {error.message}", file=sys.stderr)
    return news, done


def facts(home: Path, inventory: Path) -> Facts:
    """What the Dagster instance in `home` knows, read by a process of its own. Raises UnknownError when it cannot be read."""
    from ccobs_ops.core.errors import OpsError, UnknownError
    from ccobs_ops.core.process import environment, run
    from ccobs_ops.core.watch.dagster import Facts

    if not home.is_dir():
        raise UnknownError(
            f"there is no Dagster instance in {home}", hint="name its folder: --dagster-home DIR"
        )
    settings = environment({"DAGSTER_HOME": str(home.resolve()), "CCOBS_INVENTORY": str(inventory)})
    passed = {
        name: value for name, value in os.environ.items() if name.startswith(("DAGSTER_", "PYTHONPATH"))
    }
    try:
        ended = run(
            [sys.executable, "-m", "ccobs_ops.watch_dagster"],
            deadline=_FACTS_SECONDS,
            env=passed | settings,
            cwd=Path.cwd(),
        )
        return Facts.from_json(json_module.loads(ended.stdout.splitlines()[-1]))
    except (OpsError, ValueError, KeyError, IndexError) as error:
        told = error.message.splitlines()[0] if isinstance(error, OpsError) else repr(error)
        raise UnknownError(
            f"the Dagster instance in {home} cannot be read: {told}", hint="see whether its storage answers"
        ) from error


def remedied_json(one: Remedied) -> dict[str, Any]:
    """The stable JSON form of an attempt."""
    from ccobs_ops.core.incidents import to_json

    return {
        "incident": to_json(one.incident),
        "target": one.subject,
        "action": one.action.value,
        "outcome": one.outcome,
        "reason": one.reason,
        "before": None if one.before is None else one.before.id,
        "done": None if one.done is None else one.done.id,
        "after": None if one.after is None else one.after.id,
    }
