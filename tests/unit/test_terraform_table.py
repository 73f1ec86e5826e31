"""The page of rules is the rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ccobs_ops.core.terraform.direction import _EACH, _WHOLE
from ccobs_ops.core.terraform.impact import load_rules
from ccobs_ops.core.terraform.impact_table import HEAD, render
from ccobs_ops.core.terraform.parity import COMPARISONS
from ccobs_ops.core.terraform.rules import COMPARISONS as KNOWN
from ccobs_ops.core.terraform.rules import KINDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_command_writes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ccobs_ops.core.terraform.impact_table"],
        capture_output=True,
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    page = (ROOT / "docs/terraform-impact.md").read_text(encoding="utf-8")
    assert page == done.stdout.decode(), (
        "write it again: python -m ccobs_ops.core.terraform.impact_table > docs/terraform-impact.md"
    )


def test_every_rule_is_on_the_page_with_its_reason() -> None:
    page = render(load_rules())
    for rule in load_rules().rules:
        assert f"| `{rule.name}` |" in page
        assert rule.why.replace("*", "\\*") in page


def test_every_kind_and_comparison_is_implemented_and_explained() -> None:
    assert set(_EACH) | set(_WHOLE) | {"deleted", "created"} == KINDS
    assert set(COMPARISONS) == KNOWN
    assert all(f"`{kind}`" in HEAD for kind in KINDS)
