"""What must hold between the keys of a drill, and between them and the rest of the inventory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from ccobs_ops.inventory_problems import Key, Violation, did_you_mean

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory
    from ccobs_ops.inventory_drills import Drill, DrillTarget, Probe

NOUNS = {
    "accidental-delete": ("postgres",),
    "database-loss": ("postgres",),
    "etcd-quorum-loss": ("etcd",),
    "region-loss": ("postgres", "etcd", "replication"),
    "ransomware": ("postgres", "etcd"),
    "control-plane-and-data": ("postgres", "etcd", "replication"),
}
"""The kinds of targets that each scenario restores."""


def drill_violations(inventory: Inventory, *, store_names: Collection[str]) -> Iterator[Violation]:
    """Everything in the drills that contradicts itself, or names what is not there."""
    for name, drill in inventory.drills.items():
        key: Key = ("drills", name)
        for position, layer in enumerate(drill.targets):
            yield from _layer((*key, "targets", position), layer, drill, inventory, store_names)
        yield from _order(key, drill)
        yield from _probes(key, drill)
        yield from _scenario(key, drill, inventory)
        for root in drill.drift or ():
            if root not in inventory.terraform:
                where = (*key, "drift")
                hint = did_you_mean(root, inventory.terraform) or _known("roots", inventory.terraform)
                yield Violation(where, f"there is no terraform root {root!r}", hint, (where, ("terraform",)))


def _known(what: str, names: Collection[str]) -> str:
    return f"{what}: {', '.join(names) or 'none'}"


def targets_for(inventory: Inventory, scenario: str) -> list[str]:
    """The targets of the inventory that `scenario` can restore."""
    return [f"{noun}/{name}" for noun in NOUNS[scenario] for name in getattr(inventory, noun)]


def _layer(
    where: Key, layer: DrillTarget, drill: Drill, inventory: Inventory, store_names: Collection[str]
) -> Iterator[Violation]:
    noun, _, name = layer.target.partition("/")
    at = (*where, "target")
    known = targets_for(inventory, drill.scenario)
    if layer.target not in known:
        there = noun in ("postgres", "etcd", "replication") and name in getattr(inventory, noun)
        told = (
            f"{drill.scenario} does not restore {layer.target}"
            if there
            else f"there is no target {layer.target!r}"
        )
        hint = did_you_mean(layer.target, known) or _known(f"{drill.scenario} restores", known)
        yield Violation(at, told, hint, (at, (noun,)))
    if layer.store is not None and layer.store not in store_names:
        there_is = (*where, "store")
        hint = did_you_mean(layer.store, store_names) or _known("known stores", sorted(store_names))
        yield Violation(there_is, f"there is no store {layer.store!r}", hint, (there_is,))


def _order(key: Key, drill: Drill) -> Iterator[Violation]:
    names = [layer.target for layer in drill.targets]
    for position, layer in enumerate(drill.targets):
        where = (*key, "targets", position)
        if names.index(layer.target) != position:
            at = (*where, "target")
            yield Violation(at, f"{layer.target} is in this drill twice", "keep one of the two", (at,))
        for need in layer.needs:
            if need not in names:
                at = (*where, "needs")
                hint = did_you_mean(need, names) or _known("this drill's targets", names)
                yield Violation(at, f"this drill does not restore {need!r}", hint, (at,))
    circle = cycle({layer.target: layer.needs for layer in drill.targets})
    if circle:
        at = (*key, "targets")
        told = " needs ".join((*circle, circle[0]))
        yield Violation(at, f"the order goes in a circle: {told}", "take one of these needs out", (at,))


def cycle(needs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The names of one circle in a graph of needs, in order; () if there is none. What is not a node is passed over."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        pending = [(start, iter(needs[start]))] if start not in done else []
        path += [start] if pending else []
        while pending:
            node, rest = pending[-1]
            following = next(rest, None)
            if following is None:
                done.add(node)
                path.pop()
                pending.pop()
            elif following in path:
                return tuple(path[path.index(following) :])
            elif following in needs and following not in done:
                path.append(following)
                pending.append((following, iter(needs[following])))
    return ()


def _probes(key: Key, drill: Drill) -> Iterator[Violation]:
    names = [probe.name for probe in drill.probes]
    layers = [layer.target for layer in drill.targets]
    for position, probe in enumerate(drill.probes):
        where: Key = (*key, "probes", position)
        if names.index(probe.name) != position:
            at = (*where, "name")
            yield Violation(
                at, f"the probe {probe.name!r} is there twice", "give this one another name", (at,)
            )
        yield from _probe(where, probe, layers)


def _probe(where: Key, probe: Probe, layers: list[str]) -> Iterator[Violation]:
    forms = [name for name in ("sql", "path", "url") if getattr(probe, name) is not None]
    if len(forms) != 1:
        told = f"has {' and '.join(forms)}" if forms else "asks nothing"
        hint = "give exactly one of sql, path and url"
        yield Violation(where, f"the probe {probe.name!r} {told}", hint, (where,))
        return
    noun = {"sql": "postgres", "path": "etcd"}.get(forms[0])
    if noun is not None and (probe.target not in layers or not str(probe.target).startswith(f"{noun}/")):
        at = (*where, "target")
        fitting = [each for each in layers if each.startswith(f"{noun}/")]
        told = f"{forms[0]} is asked of a restored {noun} copy, and {probe.target or 'no target'} is none of this drill"
        yield Violation(at, told, _known(f"its {noun} targets", fitting), (where,))
    if forms[0] == "sql" and probe.expect is None:
        yield Violation(
            where, f"the probe {probe.name!r} expects nothing: it could not fail", "add `expect:`", (where,)
        )


def _scenario(key: Key, drill: Drill, inventory: Inventory) -> Iterator[Violation]:
    if drill.scenario == "region-loss":
        yield from _region(key, drill, inventory)
    if drill.scenario == "accidental-delete":
        if drill.table is None:
            at = (*key, "table")
            told = "accidental-delete brings one table back, and none is named"
            yield Violation(at, told, "add `table: schema.table`", (at, (*key, "scenario")))
        if len(drill.targets) != 1:
            at = (*key, "targets")
            told = "accidental-delete brings back a table of one database"
            yield Violation(at, told, "keep one target", (at, (*key, "scenario")))
    if drill.scenario == "control-plane-and-data":
        nouns = {layer.target.partition("/")[0] for layer in drill.targets}
        if len(nouns) < 2:
            at = (*key, "targets")
            told = "control-plane-and-data brings several layers to one moment, and there is only one here"
            yield Violation(at, told, "add a target of another kind", (at, (*key, "scenario")))


def _region(key: Key, drill: Drill, inventory: Inventory) -> Iterator[Violation]:
    at = (*key, "lost_region")
    regions = sorted({store.region for store in inventory.stores.values()})
    if drill.lost_region not in regions:
        told = "region-loss does not say which region is lost"
        if drill.lost_region is not None:
            told = f"no store lies in {drill.lost_region!r}"
        hint = did_you_mean(drill.lost_region or "", regions) or _known("regions of the stores", regions)
        yield Violation(at, told, hint, (at, ("stores",), (*key, "scenario")))
        return
    for position, layer in enumerate(drill.targets):
        store = store_of(inventory, layer)
        if store in inventory.stores and inventory.stores[store].region == drill.lost_region:
            where = (*key, "targets", position)
            told = f"{layer.target} would be restored from store {store!r}, which lies in the lost region"
            hint = "name the store that holds its copy: store: NAME"
            yield Violation((*where, "store"), told, hint, (where, at, ("stores", store)))


def store_of(inventory: Inventory, layer: DrillTarget) -> str:
    """The name of the store that `layer` is restored from; "" where its target is not there."""
    noun, _, name = layer.target.partition("/")
    found = getattr(inventory, noun, {}).get(name) if noun in ("postgres", "etcd", "replication") else None
    if layer.store is not None or found is None:
        return layer.store or ""
    return found.replica if noun == "replication" else found.store
