"""What must hold between the keys of an etcd cluster in the inventory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ccobs_ops.core.units import format_duration
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_etcd import Etcd
from ccobs_ops.inventory_problems import Key, Violation

_NOT_SHORTER = (
    ("objectives.rpo", "canary.interval", "a loss that small could not be measured"),
    ("objectives.rpo", "schedule", "that much is written between two snapshots"),
    ("objectives.backup_age", "schedule", "every snapshot would be too old before the next is due"),
    (
        "objectives.backup_age",
        "objectives.backup_duration",
        "a snapshot would be too old before it is finished",
    ),
    ("objectives.time_to_detect", "canary.interval", "a missing canary is noticed after an interval at best"),
    (
        "snapshot.deadline",
        "objectives.backup_duration",
        "a snapshot would be ended while it is still in time",
    ),
    ("sandbox.ttl", "objectives.rto", "a restore would be torn down while it is still in time"),
    ("retention.window", "objectives.backup_age", "the newest snapshot may be older than all that is kept"),
)
"""(a, b, why): a must not be shorter than b. `schedule` stands for the longest time between two snapshots."""


def etcd_violations(inventory: Inventory) -> Iterator[Violation]:
    """Everything about the etcd clusters of `inventory` that contradicts itself."""
    taken: dict[str, str] = {}
    for name, target in inventory.etcd.items():
        key: Key = ("etcd", name)
        yield from _access(key, target)
        yield from _login(key, target)
        yield from _material(key, target)
        yield from _spans(key, target)
        for position, endpoint in enumerate(target.endpoints):
            where: Key = (*key, "endpoints", position)
            owner = taken.setdefault(endpoint, name)
            if owner != name or endpoint in target.endpoints[:position]:
                yield Violation(
                    where,
                    f"the endpoint {endpoint} is named twice, first by etcd.{owner}",
                    "name each member once",
                    (where, ("etcd", owner, "endpoints")),
                )


def _access(key: Key, target: Etcd) -> Iterator[Violation]:
    about: tuple[Key, ...] = tuple((*key, part) for part in ("access", "endpoints", "kubernetes", "tls"))
    if target.access == "direct":
        if not target.endpoints:
            yield Violation(
                (*key, "endpoints"),
                "access is direct, and no endpoint is named",
                "add `endpoints:` with every member's client URL, or set `access: kubernetes`",
                about,
            )
        schemes = {endpoint.partition(":")[0] for endpoint in target.endpoints}
        if target.tls is not None and "http" in schemes:
            yield Violation(
                (*key, "tls"),
                "certificates are named, and an endpoint begins with http://: they would not be used",
                "write https:// endpoints, or take `tls` out",
                about,
            )
        if target.tls is not None and (target.tls.cert is None) != (target.tls.key is None):
            yield Violation(
                (*key, "tls", "key" if target.tls.key else "cert"),
                "a certificate and its key belong together",
                "add the other one",
                about,
            )
    elif target.kubernetes is None:
        yield Violation(
            (*key, "access"),
            "access is kubernetes, and `kubernetes` does not say how",
            "add `kubernetes: {}`: its defaults fit kubeadm",
            about,
        )


def _login(key: Key, target: Etcd) -> Iterator[Violation]:
    about: tuple[Key, ...] = tuple((*key, part) for part in ("access", "user", "password"))
    if (target.user is None) != (target.password is None):
        given, other = ("user", "password") if target.user else ("password", "user")
        yield Violation((*key, given), f"a {given} without a {other}", f"add `{other}:`", about)
    elif target.user is not None and target.access == "kubernetes":
        yield Violation(
            (*key, "user"),
            "a password cannot be used with access: kubernetes: it would stand in the process list of the node",
            "use the certificate's own name as the user, or access: direct",
            about,
        )


def _material(key: Key, target: Etcd) -> Iterator[Violation]:
    found = target.material
    if found is not None and found.collector == "kubernetes" and target.kubernetes is None:
        where: Key = (*key, "material", "collector")
        yield Violation(
            where,
            "the collector is kubernetes, and `kubernetes` does not say how",
            "add `kubernetes: {}`, or use collector: files on a control-plane node",
            (where, (*key, "kubernetes")),
        )


def _spans(key: Key, target: Etcd) -> Iterator[Violation]:
    spans: dict[str, timedelta] = {
        f"{part}.{name}": getattr(getattr(target, part), name)
        for part, names in (
            ("objectives", ("rto", "rpo", "backup_age", "backup_duration", "time_to_detect")),
            ("canary", ("interval",)),
            ("snapshot", ("deadline",)),
            ("sandbox", ("ttl",)),
            ("retention", ("window",)),
        )
        for name in names
    } | {"schedule": _longest_gap(target.schedule)}
    written = {
        f"{part}.{name}"
        for part in ("objectives", "canary", "snapshot", "sandbox", "retention")
        for name in getattr(target, part).model_fields_set
    } | ({"schedule"} & target.model_fields_set)
    for short, long, why in _NOT_SHORTER:
        if spans[short] >= spans[long]:
            continue
        pointed = short if short in written or long not in written else long
        told = f"the longest time between two snapshots ({format_duration(spans[long])})"
        other = told if long == "schedule" else f"{long} ({format_duration(spans[long])})"
        yield Violation(
            (*key, *pointed.split(".")),
            f"{short} ({format_duration(spans[short])}) is shorter than {other}: {why}",
            f"raise {short}, or {'take them more often: schedule' if long == 'schedule' else f'lower {long}'}",
            ((*key, *short.split(".")), (*key, *long.split("."))),
        )


def _longest_gap(cron: str) -> timedelta:
    """The longest time between two ticks of `cron` among the next fifty from a fixed moment."""
    from croniter import croniter  # noqa: PLC0415 - costs start-up time where no inventory is read

    clock = croniter(cron, datetime(2026, 1, 1, tzinfo=UTC))
    ticks = [clock.get_next(datetime) for _ in range(50)]
    return max(later - earlier for earlier, later in pairwise(ticks))
