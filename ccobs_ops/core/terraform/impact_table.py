"""`python -m ccobs_ops.core.terraform.impact_table [FILE …]` writes docs/terraform-impact.md: the rules.

Files are further rules, as the inventory's `impact_rules` names them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ccobs_ops.core.terraform.change import Objective
from ccobs_ops.core.terraform.rules import ImpactRules, Rule, data, load_rules

HEAD = """\
# What a change does to recovery

Written by `python -m ccobs_ops.core.terraform.impact_table`; do not edit. The rules are
`ccobs_ops/core/terraform/data/aws.yaml`.

A scan looks at the *direction* of a change: what weakens recovery has the severity below, the opposite is information, and
what cannot be told (a secret value, one that is known only after an apply, a policy that cannot be compared) counts as
weaker. It does so whatever the class of the change: an attribute that the configuration ignores counts, too. Where no rule
speaks, severity follows from type and class.

## Adding rules

`impact_rules:` of a root names files of the same form; a rule there replaces one of the same name here.

```yaml
version: 1
rules:
  - rule: queue-retention                # a name of its own
    types: [acme_queue, "acme_*_topic"]  # * stands for anything
    attribute: settings.keep_days        # dotted; lists are walked through; several as a list
    weaker: lowered                      # see below
    unit: days                           # days, hours, minutes, seconds, GiB, count
    unset: 4                             # what the provider takes when it is not set; never for no limit
    objective: recovery_window           # recovery_window, rpo, rto, survival
    severity: critical                   # critical, warning, info
    where: "(?i)backup"                  # only objects whose address or name is like this
    roles: [dr]                          # only roots of this role
    says: "messages are kept {after} instead of {before}"   # also {lost} and {gained}
    why: What is older cannot be replayed.
stateful: [acme_queue]                   # deleting one loses data
severities:
  - {types: [acme_*], deleted: warning, changed: info}
roles:                                   # what a dr root must have like its primary
  - types: [acme_queue]
    attributes:
      - {path: settings.keep_days, compare: at_least, severity: critical, why: "…"}
```

| `weaker:` | recovery gets weaker when |
|---|---|
| `lowered`, `raised` | the number does; `forever:` is the value for no limit, `plus:` what is added, by factor |
| `turned_off`, `turned_on` | the switch is; `true`, `Enabled`, `ACTIVE`, `on` and the like are on |
| `ranked` | it moves down in `order:`, or to a value that is not in it |
| `removed`, `added` | it was set and is not, or the other way round |
| `exchanged` | it was set and is another |
| `narrowed`, `widened` | members were lost, or gained; a member with `*` covers what it matches |
| `changed` | it is another in any way |
| `untagged` | a tag by which backups select goes or changes: `keys:`, and the tags that the state's backup selections name |
| `rarer` | the longest gap of the schedule grows |
| `expires_sooner` | keys of any prefix or tag expire sooner; `days:` says where the days stand in a rule |
| `replicates_less` | anything that was replicated no longer is |
| `protects_less` | the policy no longer denies something, or allows something that destroys |
| `grants_less` | the policy no longer allows something, or denies it |
| `deleted`, `created` | the whole object is |
"""
_TITLES = {
    Objective.RECOVERY_WINDOW: "Recovery window: how far back one can go",
    Objective.RPO: "RPO: how much is lost",
    Objective.RTO: "RTO: how long recovery takes",
    Objective.SURVIVAL: "Survival: whether there is anything left to recover from",
}


def render(rules: ImpactRules) -> str:
    """The whole page."""
    return "\n".join(_lines(rules)) + "\n"


def _lines(rules: ImpactRules) -> Iterator[str]:
    yield HEAD
    examples: Any = data("examples.yaml")
    for objective, title in _TITLES.items():
        yield f"## {title}\n"
        yield "| rule | resource types | attribute | weaker when | severity | for example | why |"
        yield "|---|---|---|---|---|---|---|"
        for rule in sorted(rules.rules, key=lambda each: each.name):
            if rule.objective is objective:
                yield _row(rule, examples.get(rule.name, {}).get("says") or rule.says)
        yield ""
    yield "## Types that hold data\n"
    yield "Deleting or replacing one weakens survival, and no repair touches one without a fresh validation of its target.\n"
    yield _code(sorted(rules.stateful)) + "\n"
    yield "## Parity of a dr root with its primary\n"
    yield "| resource types | attribute | must be | severity | else |"
    yield "|---|---|---|---|---|"
    for role in rules.parity:
        if not role.attributes:
            yield f"| {_code(role.types)} | | there | {role.missing} | nothing in the dr root plays its role |"
        for path, comparison, severity, why in role.attributes:
            yield f"| {_code(role.types)} | `{'.'.join(path)}` | {_MUST[comparison]} | {severity} | {_cell(why)} |"


_MUST = {
    "equal": "equal",
    "at_least": "at least as much",
    "version": "no older",
    "size": "no smaller",
    "set": "without a member missing",
    "present": "set",
}


def _row(rule: Rule, example: str) -> str:
    weaker = (
        rule.weaker
        + (" in a `dr` root" if "dr" in rule.roles else "")
        + (" where the name fits" if rule.where else "")
    )
    attributes = ", ".join(f"`{'.'.join(path)}`" for path in rule.attributes) or "the object"
    cells = (
        f"`{rule.name}`",
        _code(rule.types),
        attributes,
        weaker,
        rule.severity.value,
        _cell(example),
        _cell(rule.why),
    )
    return f"| {' | '.join(cells)} |"


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(render(load_rules([Path(each) for each in sys.argv[1:]])))
