"""What deploy/ ships fits the exporter: rules are unit-tested by promtool, a dashboard asks only for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "ccobs.rules.yaml"
CASES = ROOT / "deploy" / "prometheus" / "ccobs.rules.test.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "ccobs.json"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (apt-get install prometheus)"
)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def documented() -> dict[str, set[str]]:
    """Every metric of docs/metrics.md (a test holds it to the exporter) and its labels."""
    rows = re.findall(
        r"^\| `(ccobs_\w+)` \|([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True, timeout=120)


@needs_promtool
def test_the_rules_do_as_their_tests_say() -> None:
    told = promtool("test", "rules", CASES)
    assert told.returncode == 0, told.stdout + told.stderr


@needs_promtool
def test_a_rule_that_never_fires_is_noticed(tmp_path: Path) -> None:
    """Break every rule: the case of each must turn red."""
    document = yaml.safe_load(RULES.read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = "vector(0) > 1"
    (tmp_path / RULES.name).write_text(yaml.safe_dump(document))
    (tmp_path / CASES.name).write_text(CASES.read_text())
    told = promtool("test", "rules", tmp_path / CASES.name)
    assert told.returncode != 0
    red = set(re.findall(r'alertname="(\w+)"', told.stdout + told.stderr))
    assert red == {rule["alert"] for rule in rules()}


def test_each_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: dict[str, list[bool]] = {}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for check in case["promql_expr_test"]:
            name = re.findall(r'alertname="(\w+)"', check["expr"])[0]
            fires.setdefault(name, []).append(bool(check["exp_samples"]))
    assert {name: sorted(each) for name, each in fires.items()} == {
        rule["alert"]: [False, True] for rule in rules()
    }


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_rule_leads_to_a_runbook_that_has_it(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook_url"].partition("/blob/main/")[2].partition("#")
    text = (ROOT / path).read_text()
    if anchor:
        assert anchor in {heading.strip().lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert rule["labels"]["severity"] in ("warning", "critical")


def expressions() -> list[str]:
    document = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    return [
        *asked,
        *(each["query"]["query"] for each in document["templating"]["list"] if each["type"] == "query"),
    ]


@pytest.mark.parametrize("expression", [*expressions(), *(rule["expr"] for rule in rules())])
def test_every_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    known = documented()
    names = re.findall(r"\bccobs_\w+", expression)
    assert names
    for name in names:
        assert name in known, name
    for name, matchers in re.findall(r"\b(ccobs_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matchers)) <= known[name]


@needs_promtool
def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    asked = [each for each in expressions() if not each.startswith("label_values")]
    queries = [each.replace("$target", ".*") for each in asked]
    recorded = [{"record": f"x:{n}", "expr": each} for n, each in enumerate(queries)]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": recorded}]}))
    told = promtool("check", "rules", tmp_path / "x.yaml")
    assert told.returncode == 0, told.stderr
