"""Control plane and data come back together: PostgreSQL, etcd and objects at one moment.

etcd can be restored to its snapshots only, so a snapshot's end is the moment; the newest is chosen that the other layers
can meet. PostgreSQL replays to exactly that moment, objects are taken as their versions were then. Without such
a moment the drill fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.drill.situation import Aim, Point, Situation
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.etcd.archive import Archive as EtcdArchive
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.view import View, look
from ccobs_ops.core.units import format_duration

if TYPE_CHECKING:
    from ccobs_ops.core.drill.plan import Layer

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Known:
    """What the layers can be restored to."""

    views: dict[str, View]
    entries: dict[str, list[Entry]]


def settle(situation: Situation) -> Point:
    """The newest moment that all layers can be restored to. Raises DamagedError, naming the layer, when there is none."""
    known = _survey(situation)
    moment, snapshots = meet(
        situation.plan.layers, known.views, known.entries, situation.lost_at, situation.plan.config.tolerance
    )

    def aim(view: View) -> tuple[View, RecoveryTarget]:
        return view, RecoveryTarget(at=moment)

    aims: dict[str, Aim] = {layer.name: aim for layer in situation.plan.layers if layer.noun == "postgres"}
    return Point(
        told=f"all layers at {rfc3339(moment)}",
        inventory=situation.ctx.inventory,
        lost_at=situation.lost_at,
        moment=moment,
        before=moment,
        aims=aims,
        snapshots=snapshots,
    )


def meet(
    layers: Iterable[Layer],
    views: dict[str, View],
    entries: dict[str, list[Entry]],
    lost_at: datetime,
    tolerance: timedelta,
) -> tuple[datetime, dict[str, str]]:
    """The newest moment by `lost_at` that every layer can be restored to, and the snapshots for it. Pure.

    Snapshots of several etcd clusters may be `tolerance` apart. Raises DamagedError when the layers cannot meet.
    """
    layers = list(layers)
    candidates = sorted(
        {entry.stopped_at for found in entries.values() for entry in found if entry.stopped_at <= lost_at},
        reverse=True,
    )
    if not entries:
        ends = [view.spans[-1].end for view in views.values() if view.spans]
        newest = [end.at for end in ends if end is not None]
        candidates = [min([lost_at, *newest])] if newest else []
    why = "etcd has no snapshot that was finished by then"
    for moment in candidates:
        snapshots: dict[str, str] = {}
        lacking = ""
        for layer in layers:
            if layer.noun == "postgres" and not any(span.holds(moment) for span in views[layer.name].spans):
                lacking = (
                    f"{layer.target} cannot be restored to {rfc3339(moment)}: {views[layer.name].describe()}"
                )
            if layer.noun == "etcd":
                fitting = [
                    entry for entry in entries[layer.name] if moment - tolerance <= entry.stopped_at <= moment
                ]
                if fitting:
                    snapshots[layer.name] = fitting[-1].id
                else:
                    lacking = (
                        f"{layer.target} has no snapshot within {format_duration(tolerance)} before "
                        f"{rfc3339(moment)}"
                    )
        if not lacking:
            return moment, snapshots
        why = lacking if why.startswith("etcd has") else why
    raise DamagedError(
        f"the layers cannot meet at one moment by {rfc3339(lost_at)}: {why}",
        code="layers_cannot_meet",
        subject=", ".join(layer.target for layer in layers),
        hint="take an etcd snapshot inside PostgreSQL's recovery window: ccobs-ops etcd snapshot, postgres window",
    )


def _survey(situation: Situation) -> _Known:
    """Look at every archive once. Right after a snapshot PostgreSQL's newest commit is waited for: it is seconds behind."""
    ctx = situation.ctx
    entries: dict[str, list[Entry]] = {}
    for layer in situation.plan.layers:
        if layer.noun == "etcd":
            cluster = EtcdCluster(ctx.inventory, layer.name)
            archive = EtcdArchive(cluster.store(layer.store, read_only=True), cluster.prefix)
            entries[layer.name] = archive.catalogue()[0]
    newest = max(
        (e.stopped_at for found in entries.values() for e in found if e.stopped_at <= situation.lost_at),
        default=None,
    )
    views = {
        layer.name: _reaching(situation, layer, newest)
        for layer in situation.plan.layers
        if layer.noun == "postgres"
    }
    return _Known(views, entries)


def _reaching(situation: Situation, layer: Layer, moment: datetime | None) -> View:
    ctx = situation.ctx
    cluster = Cluster(ctx.inventory, layer.name)
    archive = Archive(cluster.store(layer.store, read_only=True), cluster.prefix)
    until = ctx.timer() + 3 * cluster.config.archive.partial_interval.total_seconds() + 2.0
    while True:
        view = look(ctx, archive, cluster.tools)
        end = view.spans[-1].end if view.spans else None
        if moment is None or (end is not None and end.at >= moment) or ctx.timer() >= until:
            return view
        ctx.sleep(_POLL_SECONDS)


SCENARIO = Scenario(
    "control-plane-and-data",
    "Control plane and data come back together: PostgreSQL, etcd and objects at one moment.",
    settle,
    proves=("consistent", "Every layer came back to the same moment."),
)
