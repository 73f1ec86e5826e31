"""What the inventory says of pairs, and contradicts itself in."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ccobs_ops.inventory_load import loads
from tests.unit.inventories import only

PAIR = """\
version: 1
environment: lab
stores:
  us: {bucket: one}
  eu: {bucket: two}
replication:
  backups:
    source: us
    replica: eu
"""


def test_the_lag_is_judged_over_an_hour_unless_it_says_otherwise() -> None:
    assert loads(PAIR).replication["backups"].canary.window == timedelta(hours=1)
    asked = loads(PAIR + "    canary: {window: 10m, interval: 1m}\n")
    assert asked.replication["backups"].canary.window == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("lines", "key", "told"),
    [
        ("    canary: {window: 9m, interval: 1m}\n", "canary.window", "holds fewer than ten canaries"),
        ("    rpo: 10s\n", "rpo", "is shorter than canary.interval (30s)"),
    ],
)
def test_a_pair_that_contradicts_itself_is_refused(lines: str, key: str, told: str) -> None:
    problem = only(PAIR + lines)
    assert problem.key == f"replication.backups.{key}"
    assert told in problem.message
    assert problem.hint
