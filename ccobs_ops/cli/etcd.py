"""`ccobs-ops etcd`: snapshots, health, restores, drills, retention, defragmentation, and the agent."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.cli.options import Json, answering, choose, exercising, one_of, parsed
from ccobs_ops.cli.target import FromStore, Name, exercise_target, until_stopped

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Take snapshots of etcd, look at its health, restore it, prove that it restores.",
)

At = Annotated[
    str | None,
    typer.Option(
        help="The newest snapshot finished by this moment (with its time zone): 2026-11-23T02:14:07Z."
    ),
]
Snapshot = Annotated[
    str | None,
    typer.Option("--snapshot", metavar="ID", help="This snapshot; the beginning of its id is enough."),
]
Latest = Annotated[bool, typer.Option("--latest", help="The newest snapshot (the default of a drill).")]
Bump = Annotated[
    int | None,
    typer.Option("--bump-revision", min=1, metavar="N", help="Raise the revision by N. Needs etcdutl 3.6."),
]
DryRun = Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="Only say what would be done.")]
Confirm = Annotated[
    str | None, typer.Option(metavar="TARGET", help="The target again (etcd/NAME), to do it for real.")
]


@app.command("snapshot")
def snapshot(ctx: typer.Context, name: Name = None, json: Json = False) -> int:
    """Take a snapshot, streamed to the store.

    From a healthy, caught-up member, a follower if there is one. It is listed only when it is whole and safe in the
    store. Changes no data.
    """

    def take(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.snapshot import take_snapshot

        return take_snapshot(context, target)

    return exercise_target(ctx, "etcd", name, take, json=json)


@app.command("snapshots")
def snapshots(
    ctx: typer.Context,
    name: Name = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte of every snapshot, and check its trailer.")
    ] = False,
    store: FromStore = None,
    json: Json = False,
) -> int:
    """List the snapshots, and check that all of each is there."""

    def look(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.listing import look_over

        return look_over(context, target, deep=deep, store=store)

    return exercise_target(ctx, "etcd", name, look, json=json, emergency=True)


@app.command("health")
def health(ctx: typer.Context, name: Name = None, json: Json = False) -> int:
    """Look at every member: quorum, alarms, room, lag, agreement, certificates. Changes nothing."""

    def look(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.health import examine

        return examine(context, target)

    return exercise_target(ctx, "etcd", name, look, json=json, emergency=True)


@app.command("restore")
def restore(
    ctx: typer.Context,
    to: Annotated[
        Path,
        typer.Option(
            "--to", metavar="DIR", help="An empty or new directory; a folder a member is made in it."
        ),
    ],
    name: Name = None,
    latest: Latest = False,
    snapshot: Snapshot = None,
    at: At = None,
    member: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="NAME=PEER_URL[,CLIENT_URL]",
            help="A member of the new cluster; repeat it. Default: those of the snapshot.",
        ),
    ] = None,
    bump_revision: Bump = None,
    mark_compacted: Annotated[
        bool,
        typer.Option("--mark-compacted", help="With --bump-revision: older revisions count as compacted."),
    ] = False,
    store: FromStore = None,
    json: Json = False,
) -> int:
    """Restore a snapshot into DIR, a data folder for each member, and print the commands to go on with.

    What an operator uses in an emergency. Exactly one of --latest, --snapshot and --at says which one.
    """

    def bring_back(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.restore import restore as run

        return run(
            context,
            target,
            to=to.absolute(),
            snapshot=snapshot,
            at=moment,
            store=store,
            members=member or (),
            bump_revision=bump_revision,
            mark_compacted=mark_compacted,
        )

    with answering(json):
        moment = _moment(latest=latest, snapshot=snapshot, at=at, required=True)
    return exercise_target(ctx, "etcd", name, bring_back, json=json, emergency=True)


@app.command("drill")
def drill(
    ctx: typer.Context,
    name: Name = None,
    latest: Latest = False,
    snapshot: Snapshot = None,
    at: At = None,
    members: Annotated[
        int | None,
        typer.Option("--members", help="Start the copy with 1 or 3 members. Default: the inventory's."),
    ] = None,
    bump_revision: Bump = None,
    seed: Annotated[int | None, typer.Option(help="Repeats the sample of keys of an earlier drill.")] = None,
    store: FromStore = None,
    json: Json = False,
) -> int:
    """Restore a snapshot into a sandbox, start a real cluster of it, and prove what came back.

    Isolated from production, and torn down afterwards.
    """

    def prove(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.drill import drill as run

        return run(
            context,
            target,
            members=members,
            snapshot=snapshot,
            at=moment,
            store=store,
            bump_revision=bump_revision,
            seed=seed,
        )

    with answering(json):
        moment = _moment(latest=latest, snapshot=snapshot, at=at, required=False)
    return exercise_target(ctx, "etcd", name, prove, json=json)


@app.command("material")
def material(
    ctx: typer.Context,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="An empty or new directory; it becomes 0700.")
    ],
    name: Name = None,
    snapshot: Snapshot = None,
    at: At = None,
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Where the age identity is: file:PATH, env:NAME or secretsmanager:ARN. Not for KMS.",
        ),
    ] = None,
    store: FromStore = None,
    json: Json = False,
) -> int:
    """Open the control plane's certificates and manifests that were stored with a snapshot.

    Of the newest snapshot that has them, unless --snapshot or --at says another.
    """

    def bring_back(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.material_restore import restore_material

        return restore_material(
            context, target, to=to.absolute(), snapshot=snapshot, at=moment, store=store, identity=identity
        )

    with answering(json):
        moment = _moment(latest=False, snapshot=snapshot, at=at, required=False)
    return exercise_target(ctx, "etcd", name, bring_back, json=json, emergency=True)


@app.command("retention")
def retention(
    ctx: typer.Context,
    name: Name = None,
    dry_run: DryRun = True,
    confirm: Confirm = None,
    json: Json = False,
) -> int:
    """Delete snapshots that neither number nor window need.

    By default it only says what that is: to delete, give --no-dry-run and --confirm, and allow it in the inventory.
    """

    def delete(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.retention import prune

        return prune(context, target, dry_run=dry_run, confirmation=confirm)

    return exercise_target(ctx, "etcd", name, delete, json=json)


@app.command("defragment")
def defragment(
    ctx: typer.Context,
    name: Name = None,
    dry_run: DryRun = True,
    confirm: Confirm = None,
    json: Json = False,
) -> int:
    """Defragment the members one at a time, the leader last, only while all of them are well.

    By default it only says what it would do: give --no-dry-run and --confirm, and allow it in the inventory.
    """

    def run(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.etcd.defragment import defragment as act

        return act(context, target, dry_run=dry_run, confirmation=confirm)

    return exercise_target(ctx, "etcd", name, run, json=json)


@app.command("agent")
def agent(ctx: typer.Context, name: Name = None) -> int:
    """Write canary keys, until stopped. The one long-running process; SIGINT or SIGTERM ends it."""
    from ccobs_ops.core.etcd.agent import run_agent

    with exercising(ctx) as context:
        target = choose("etcd", list(context.inventory.etcd), name)
        with until_stopped() as stop:
            run_agent(context, target, stop=stop)
    return 0


def _moment(*, latest: bool, snapshot: str | None, at: str | None, required: bool) -> datetime | None:
    """What `at` says. Raises UsageError when more than one option says which snapshot, or none where one is `required`."""
    from ccobs_ops.core.units import parse_moment

    options = {"--latest": latest, "--snapshot": snapshot is not None, "--at": at is not None}
    one_of(options, missing="nothing says which snapshot", required=required)
    return parsed("--at", at, parse_moment)
