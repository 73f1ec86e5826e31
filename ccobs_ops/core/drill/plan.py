"""From a drill of the inventory to its steps, in an order that they can be taken in. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ccobs_ops.core.drill.scenarios import Scenario, named
from ccobs_ops.core.drill.step import Kind, Step
from ccobs_ops.core.errors import UsageError
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_drills import Drill, DrillTarget
from ccobs_ops.inventory_problems import did_you_mean
from ccobs_ops.inventory_rules_drills import NOUNS, cycle, store_of


@dataclass(frozen=True, slots=True)
class Layer:
    """One target of a drill, the store that it is restored from, and the names of its steps."""

    target: str
    store: str
    needs: tuple[str, ...]

    @property
    def noun(self) -> str:
        """`postgres`, `etcd` or `replication`."""
        return self.target.partition("/")[0]

    @property
    def name(self) -> str:
        """The target's name in the inventory."""
        return self.target.partition("/")[2]

    def step(self, verb: str) -> str:
        """The name of its step `verb`: letters, digits and _ only, since it names an asset check too."""
        return f"{verb}_{self.noun}_{self.name}"


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """A drill as it would run: its layers in order, and every step."""

    name: str
    scenario: Scenario
    config: Drill
    layers: tuple[Layer, ...]
    roots: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def target(self) -> str:
        """`drill/NAME`."""
        return f"drill/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form (docs/json.md), without readiness."""
        promised = self.config.objectives
        return {
            "drill": self.name,
            "scenario": self.scenario.name,
            "targets": [
                {"target": each.target, "store": each.store, "needs": list(each.needs)}
                for each in self.layers
            ],
            "steps": [
                {
                    "name": step.name,
                    "target": step.target,
                    "kind": step.kind.value,
                    "needs": list(step.needs),
                }
                for step in self.steps
            ],
            "objectives": {
                "rto_seconds": promised.rto.total_seconds(),
                "rpo_seconds": promised.rpo.total_seconds(),
            },
            "approval": self.config.approval,
        }


def choose(inventory: Inventory, name: str) -> str:
    """The drill called `name` (or drill/NAME). Raises UsageError when the inventory has none."""
    found = name.removeprefix("drill/")
    if found not in inventory.drills:
        known = f"its drills are: {', '.join(inventory.drills) or 'none'}"
        raise UsageError(
            f"the inventory has no drill {found!r}", hint=did_you_mean(found, inventory.drills) or known
        )
    return found


def plan(inventory: Inventory, name: str, *, scenario: str | None = None) -> DrillPlan:
    """The plan of the drill `name`; `scenario` rehearses another disaster on the same targets.

    Raises UsageError for what is not there, a scenario that does not fit the drill's targets, and an order in a circle.
    """
    found = choose(inventory, name)
    config = inventory.drills[found]
    chosen = named(scenario or config.scenario)
    _fits(config, chosen, found)
    layers = tuple(
        Layer(each.target, store_of(inventory, each), each.needs) for each in _ordered(config.targets)
    )
    roots = tuple(inventory.terraform) if config.drift is None else config.drift
    return DrillPlan(found, chosen, config, layers, roots, _steps(found, config, chosen, layers, roots))


def _fits(config: Drill, scenario: Scenario, name: str) -> None:
    for each in config.targets:
        if each.target.partition("/")[0] not in NOUNS[scenario.name]:
            raise UsageError(
                f"drill/{name} restores {each.target}, which {scenario.name} does not",
                hint=f"{scenario.name} restores: {', '.join(NOUNS[scenario.name])}",
            )
    for key in scenario.requires:
        if getattr(config, key) is None:
            raise UsageError(
                f"drill/{name} has no {key}, which {scenario.name} needs",
                hint=f"add `{key}:` to the drill in the inventory",
            )


def _ordered(targets: tuple[DrillTarget, ...]) -> list[DrillTarget]:
    """Each after all that it needs, and otherwise as they are written."""
    circle = cycle({each.target: each.needs for each in targets})
    if circle:
        raise UsageError(
            f"the order goes in a circle: {' needs '.join((*circle, circle[0]))}",
            hint="take one of these needs out of the inventory",
        )
    ordered: list[DrillTarget] = []
    pending = list(targets)
    while pending:
        done = {each.target for each in ordered}
        ready = next(each for each in pending if set(each.needs) <= done)
        ordered.append(ready)
        pending.remove(ready)
    return ordered


def _steps(
    name: str, config: Drill, scenario: Scenario, layers: tuple[Layer, ...], roots: tuple[str, ...]
) -> tuple[Step, ...]:
    target = f"drill/{name}"
    steps = [Step("precheck", Kind.PRECHECK, target)]
    proven = {layer.target: layer.step("verify") for layer in layers}
    for layer in layers:
        needs = ("precheck", *(proven[need] for need in layer.needs))
        steps.append(Step(layer.step("restore"), Kind.RESTORE, layer.target, needs))
        steps.append(Step(layer.step("verify"), Kind.VERIFY, layer.target, (layer.step("restore"),)))
    ready = tuple(proven[layer.target] for layer in layers)
    if scenario.extract:
        ready = tuple(layer.step("extract") for layer in layers)
        steps += [
            Step(layer.step("extract"), Kind.VERIFY, layer.target, (layer.step("verify"),))
            for layer in layers
        ]
    if config.probes:
        steps.append(Step("probe", Kind.PROBE, target, ready))
        ready = ("probe",)
    steps += [Step(f"drift_{root}", Kind.DRIFT, f"terraform/{root}", ready) for root in roots]
    steps += [Step(layer.step("cleanup"), Kind.CLEANUP, layer.target, ready) for layer in layers]
    return tuple(steps)
