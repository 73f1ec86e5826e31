"""Whether a dr root could take over from its primary: the same roles, and nothing smaller, older or shorter.

Two objects play the same role if they carry the same tag `role`, else if they have the same address, else if each is
the only one of its type. What must agree is data (`data/parity.yaml`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ccobs_ops.core.exercise import Finding, Severity
from ccobs_ops.core.redaction import MASK
from ccobs_ops.core.terraform.equal import blank, canonical, equal_unordered
from ccobs_ops.core.terraform.plan import Held, PlanDocument
from ccobs_ops.core.terraform.rules import ImpactRules, ParityRole, load_rules
from ccobs_ops.core.terraform.values import is_on, members, shown

ROLE_TAGS = ("role", "Role", "ccobs:role")
_SIZES = ("nano", "micro", "small", "medium", "large", "xlarge")
_MULTIPLE = re.compile(r"(\d+)xlarge\Z")
_METAL = 1000


def compare(
    dr: PlanDocument, primary: PlanDocument, *, name: str, primary_name: str, rules: ImpactRules | None = None
) -> tuple[Finding, ...]:
    """Findings `parity_*` for every difference that would break or weaken a failover from `primary_name` to `name`.

    `parity_missing`: nothing in the dr root plays the role; `parity_weaker`: it does, and falls short;
    `parity_unknown`: a value that must agree is not to be had.
    """
    found: list[Finding] = []
    for role in (rules or load_rules()).parity:
        for kind in role.types:
            ours = [held for held in dr.held if held.type == kind]
            for held in (each for each in primary.held if each.type == kind):
                mine = _counterpart(held, ours, primary.held)
                if mine is None:
                    found.append(
                        Finding(
                            "parity_missing",
                            role.missing,
                            held.address,
                            f"{primary_name} has it, and nothing in {name} plays its role",
                            "add it to the dr root, or give both the same tag `role`",
                        )
                    )
                else:
                    found.extend(_differences(held, mine, role, name, primary_name))
    return tuple(found)


def _counterpart(held: Held, ours: list[Held], theirs: tuple[Held, ...]) -> Held | None:
    role = _role(held)
    if role is not None:
        tagged = [each for each in ours if _role(each) == role]
        if tagged:
            return tagged[0]
    same = [each for each in ours if each.address == held.address]
    if same:
        return same[0]
    alone = len(ours) == 1 and sum(each.type == held.type for each in theirs) == 1
    return ours[0] if alone else None


def _role(held: Held) -> str | None:
    tags = held.get("tags")
    if not isinstance(tags, Mapping):
        return None
    return next((str(tags[key]) for key in ROLE_TAGS if not blank(tags.get(key))), None)


def _differences(held: Held, mine: Held, role: ParityRole, name: str, primary_name: str) -> Iterator[Finding]:
    for path, comparison, severity, why in role.attributes:
        old, new = _value(held, path), _value(mine, path)
        where = f"{mine.address} {'.'.join(path)}"
        if MASK in (old, new):
            yield Finding(
                "parity_unknown",
                Severity.WARNING,
                where,
                f"it cannot be compared with {primary_name}: the value is secret",
                "compare it by hand",
            )
        elif not COMPARISONS[comparison](old, new):
            yield Finding(
                "parity_weaker",
                severity,
                where,
                f"{shown(new)} in {name}, {shown(old)} in {primary_name}: {why}",
                "make the dr root like its primary",
            )


def _value(held: Held, path: tuple[str, ...]) -> Any:
    found = members(held.get(path[0]), path[1:])
    return found[0] if len(found) == 1 else found or None


def _equal(old: Any, new: Any) -> bool:
    return equal_unordered(old, new)


def _at_least(old: Any, new: Any) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return is_on(new) or not is_on(old)
    try:
        return float(new or 0) >= float(old or 0)
    except (TypeError, ValueError):
        return equal_unordered(old, new)


def _version(old: Any, new: Any) -> bool:
    wanted, there = _numbers(old), _numbers(new)
    if not wanted or not there:
        return equal_unordered(old, new)
    size = min(2, len(wanted), len(there))
    return there[:size] >= wanted[:size]


def _numbers(version: Any) -> list[int]:
    return [int(part) for part in re.findall(r"\d{1,9}", str(version).split("-")[0])]


def size_rank(name: Any) -> float | None:
    """How large an instance class is within any family: `db.r6g.2xlarge` is 7; None if its form is not known."""
    for word in reversed(str(name).split(".")):
        if word in _SIZES:
            return float(_SIZES.index(word))
        if match := _MULTIPLE.fullmatch(word):
            return _SIZES.index("xlarge") + int(match[1])
        if word.startswith("metal"):
            return _METAL
    return None


def _size(old: Any, new: Any) -> bool:
    wanted, there = size_rank(old), size_rank(new)
    if wanted is None or there is None:
        return equal_unordered(old, new)
    return there >= wanted


def _set(old: Any, new: Any) -> bool:
    wanted = {canonical(each) for each in members(old, ())}
    return wanted <= {canonical(each) for each in members(new, ())}


def _present(old: Any, new: Any) -> bool:
    return blank(old) or not blank(new)


COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equal": _equal,
    "at_least": _at_least,
    "version": _version,
    "size": _size,
    "set": _set,
    "present": _present,
}
"""By name, whether what the dr side has (second) will do for what the primary has (first)."""
