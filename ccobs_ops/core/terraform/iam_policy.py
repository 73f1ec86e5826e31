"""IAM policy documents: what one no longer allows, or no longer denies.

Evaluation order and matching are AWS's: a deny always wins, `*` and `?` match within actions, resources and principals
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html). Conditions are not interpreted: a
statement whose condition changed counts as another statement, which errs towards a warning.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from ccobs_ops.core.terraform.equal import blank, canonical, parsed

LIMIT = 2000
"""More single permissions than this are not compared one by one."""
_DESTROYS = re.compile(
    r"(^|:)(\*|.*(Delete|Put|Remove|Update|Disassociate|Bypass|Schedule|Disable|Stop|Lifecycle).*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Permission:
    """One principal, action and resource that one statement allows or denies."""

    effect: str
    principal: str
    action: str
    resource: str
    condition: Hashable = None

    def __str__(self) -> str:
        who = "" if self.principal in ("", "*") else f" to {self.principal}"
        what = "" if self.resource in ("", "*") else f" on {self.resource}"
        when = " under a condition" if self.condition is not None else ""
        return f"{self.effect} {self.action}{what}{who}{when}"

    def covers(self, other: Permission) -> bool:
        """Whether whatever `other` says, this one says, too."""
        return (
            self.effect == other.effect
            and (self.condition is None or self.condition == other.condition)
            and _like(other.action.lower(), self.action.lower())
            and _like(other.resource, self.resource)
            and (_like(other.principal, self.principal) or self.principal == "*")
        )


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a policy no longer says, and what it says now, each not covered by anything on the other side."""

    lost: tuple[Permission, ...]
    gained: tuple[Permission, ...]

    @property
    def protection_lost(self) -> tuple[Permission, ...]:
        """Denials that are gone, and what may now destroy."""
        return (
            *(each for each in self.lost if each.effect == "Deny"),
            *(each for each in self.gained if each.effect == "Allow" and _DESTROYS.search(each.action)),
        )

    @property
    def grants_lost(self) -> tuple[Permission, ...]:
        """What was allowed and no longer is, also because it is now denied."""
        return (
            *(each for each in self.lost if each.effect == "Allow"),
            *(each for each in self.gained if each.effect == "Deny"),
        )


def compare(before: Any, after: Any) -> PolicyChange | None:
    """How two policies (JSON texts, objects, or nothing) differ; None if one of them cannot be read."""
    old, new = permissions(before), permissions(after)
    if old is None or new is None:
        return None
    return PolicyChange(
        tuple(each for each in old if each not in new and not any(other.covers(each) for other in new)),
        tuple(each for each in new if each not in old and not any(other.covers(each) for other in old)),
    )


def permissions(document: Any) -> tuple[Permission, ...] | None:
    """All single permissions of a policy; None if it is no policy or too long."""
    if blank(document):
        return ()
    policy = parsed(document) if isinstance(document, str) else document
    statements = policy.get("Statement") if isinstance(policy, dict) else None
    if statements is None:
        return None
    found: dict[Permission, None] = {}
    for statement in statements if isinstance(statements, list) else [statements]:
        if not isinstance(statement, dict):
            return None
        for each in _single(statement):
            found[each] = None
            if len(found) > LIMIT:
                return None
    return tuple(found)


def _single(statement: dict[str, Any]) -> Iterator[Permission]:
    effect = str(statement.get("Effect", "Allow"))
    condition = canonical(statement.get("Condition"))
    principals = _names(statement, "Principal") or ("",)
    for principal, action, resource in product(
        principals, _names(statement, "Action") or ("",), _names(statement, "Resource") or ("",)
    ):
        yield Permission(effect, principal, action, resource, condition)


def _names(statement: dict[str, Any], key: str) -> tuple[str, ...]:
    if key in statement:
        return tuple(_flat(statement[key]))
    if f"Not{key}" in statement:
        return ("all but " + ", ".join(sorted(_flat(statement[f"Not{key}"]))),)
    return ()


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for kind, each in value.items():
            yield from (name if kind == "AWS" else f"{kind}:{name}" for name in _flat(each))
    elif isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield str(value)


def _like(text: str, pattern: str) -> bool:
    return text == pattern or _glob(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
