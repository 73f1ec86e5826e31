"""A region is gone: everything is restored from what the other region has.

Every address of the lost region is replaced by a port of this host that nobody listens on, so that a read of it, or a
question to it, would fail the drill at once.
"""

from __future__ import annotations

from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.drill.situation import Point, Situation, newest_by
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.inventory import Inventory

CLOSED_PORT = 1
"""tcpmux: privileged, and unused for decades."""
CLOSED = f"http://127.0.0.1:{CLOSED_PORT}"


def settle(situation: Situation) -> Point:
    """The newest that the other region has, by the moment of the disaster if that is told."""
    at = situation.asked.at
    region = situation.plan.config.lost_region or ""
    inventory, cut = without(situation.ctx.inventory, region)
    aim = newest_by(at)
    return Point(
        told=f"the newest that is left without {region}"
        + (f", by {rfc3339(at)}" if at else "")
        + f"; cut off: {', '.join(cut)}",
        inventory=inventory,
        lost_at=situation.lost_at,
        before=at,
        aims={layer.name: aim for layer in situation.plan.layers if aim},
    )


def without(inventory: Inventory, region: str) -> tuple[Inventory, list[str]]:
    """`inventory` with every address of `region` closed: its stores, and the servers whose own store lies there.

    Returns what was cut off too.
    """
    lost = [name for name, store in inventory.stores.items() if store.region == region]
    stores = {
        name: store.model_copy(update={"endpoint": CLOSED, "addressing": "path", "attempts": 1})
        if name in lost
        else store
        for name, store in inventory.stores.items()
    }
    postgres = {
        name: target.model_copy(update={"dsn": f"host=127.0.0.1 port={CLOSED_PORT} {_database(target.dsn)}"})
        if target.store in lost
        else target
        for name, target in inventory.postgres.items()
    }
    etcd = {
        name: target.model_copy(update={"access": "direct", "endpoints": (CLOSED,), "tls": None})
        if target.store in lost
        else target
        for name, target in inventory.etcd.items()
    }
    servers = [f"postgres/{name}" for name, each in inventory.postgres.items() if each.store in lost]
    servers += [f"etcd/{name}" for name, each in inventory.etcd.items() if each.store in lost]
    closed = inventory.model_copy(update={"stores": stores, "postgres": postgres, "etcd": etcd})
    return closed, [*(f"store {name}" for name in lost), *servers]


def _database(dsn: str) -> str:
    """The parts of a DSN that name no server: which database, and as whom."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo  # noqa: PLC0415

    kept = {name: value for name, value in conninfo_to_dict(dsn).items() if name in ("dbname", "user")}
    return make_conninfo("", **{name: str(value) for name, value in kept.items()})


SCENARIO = Scenario(
    "region-loss",
    "A region is gone: restore everything from what the other region has, with the lost one's addresses closed.",
    settle,
    requires=("lost_region",),
    proves=(
        "source_untouched",
        "Every address of the lost region was a closed port, so nothing was read there.",
    ),
)
