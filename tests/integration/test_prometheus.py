"""A real Prometheus scrapes the exporter: each panel of the dashboard has something to show, each rule is evaluated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import load
from tests.alerts_support import free_port
from tests.metrics_support import INVENTORY, fill
from tests.postgres_support import wait_for

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs prometheus (apt-get install prometheus)"
)
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "ccobs.json").read_text())
QUERIES = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Prometheus answers that has scraped `ccobs-ops metrics serve` at least twice."""
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "iac").mkdir()
    inventory = directory / "inventory.yaml"
    inventory.write_text(INVENTORY.format(ledger=f"sqlite:///{directory / 'ledger.db'}"))
    with Ledger.of(load(inventory)) as ledger:
        fill(ledger)
    exporter, port = free_port(), free_port()
    documented = yaml.safe_load(
        (DEPLOY.parent / "docs" / "metrics.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    )
    [job] = documented["scrape_configs"]
    job |= {"scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
    documented["rule_files"] = [str(DEPLOY / "prometheus" / Path(documented["rule_files"][0]).name)]
    documented["global"] = {"evaluation_interval": "1s"}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(documented))
    program = [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(inventory)]
    arguments = [
        [*program, "metrics", "serve", "--listen", f"127.0.0.1:{exporter}"],
        [
            "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    ]
    with (directory / "log").open("wb") as log:
        running = [subprocess.Popen(each, stdout=log, stderr=log, cwd=directory) for each in arguments]
    try:
        url = f"http://127.0.0.1:{port}/api/v1/"
        wait_for(
            lambda: any(float(row["value"][1]) > 1 for row in value(url, "count_over_time(ccobs_up[5m])")),
            60,
            "two scrapes",
        )
        yield url
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def ask(url: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
        return json.load(answer)["data"]


def value(url: str, query: str) -> list[dict[str, Any]]:
    try:
        return ask(url, "query", query=query)["result"]
    except OSError:
        return []


@pytest.mark.parametrize(
    ("title", "query"), QUERIES, ids=[f"{title}-{n}" for n, (title, _) in enumerate(QUERIES)]
)
def test_each_panel_has_something_to_show(prometheus: str, title: str, query: str) -> None:
    assert value(prometheus, query.replace("$target", ".*")), f"{title}: nothing for {query}"


def test_the_variable_offers_every_target(prometheus: str) -> None:
    [variable] = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "target"]
    metric, label = variable["query"]["query"].removeprefix("label_values(").rstrip(")").split(", ")
    offered = ask(prometheus, f"label/{label}/values", **{"match[]": metric})
    assert {"postgres/observatory", "etcd/control", "replication/backups", "terraform/production"} <= set(
        offered
    )


def test_every_rule_is_evaluated_without_error(prometheus: str) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]

    wait_for(lambda: all(rule["health"] != "unknown" for rule in rules()), 60, "every rule to be evaluated")
    found = {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in rules()}
    text = (DEPLOY / "prometheus" / "ccobs.rules.yaml").read_text()
    written = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert set(found) == {rule["alert"] for rule in written}
    assert set(found.values()) == {("ok", "")}
    wait_for(
        lambda: {rule["name"]: rule["state"] for rule in rules()}["CcobsIncidentOpen"] != "inactive",
        30,
        "the rule of open incidents to see the one that is open",
    )
