"""docs/safety.md shows the repairs that there are, each with its fault, its sensor, its action and its proof."""

from __future__ import annotations

from pathlib import Path

from ccobs_ops.core.remediation.actions import LOOKS
from ccobs_ops.core.remediation.table import ADDS_ONLY, TABLE, Action, Rule

ROOT = Path(__file__).parents[2]
SEEN_BY = {
    "freshness": "`watch`",
    "watch": "`watch`",
}
OWN_PROOF = {"backup", "snapshot"}


def row(rule: Rule) -> str:
    """The row of the table for `rule`."""
    claims = ", ".join(f"`{claim}`" for claim in rule.claims)
    seen = f"{rule.noun} `{rule.capability}`: {claims}"
    by = SEEN_BY.get(rule.capability, "the exercise itself")
    proof = f"`{rule.capability}` exercised again"
    if rule.lasting:
        proof += "; closes when retention has removed what is damaged"
    allowed = "by default" if rule.action in ADDS_ONLY else f"`{rule.action.value}`"
    return f"| {rule.fault} | {seen} | {by} | `{rule.action.value}`: {rule.does} | {allowed} | {proof} |"


def test_the_table_in_the_documentation_is_the_one_that_is_used() -> None:
    text = (ROOT / "docs" / "safety.md").read_text()
    section = text.split("## What repairs itself", 1)[1].split("\n## ", 1)[0]
    shown = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert shown == [row(rule) for rule in TABLE]


def test_every_repair_is_proven_by_exercising_its_claim_again() -> None:
    for rule in TABLE:
        assert rule.action is not Action.LOOK
        assert (rule.noun, rule.capability) in LOOKS or rule.capability in OWN_PROOF, rule
