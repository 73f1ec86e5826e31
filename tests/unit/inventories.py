"""A good inventory for tests, and what is wrong with one that was edited."""

from __future__ import annotations

import pytest

from ccobs_ops.inventory_load import loads
from ccobs_ops.inventory_problems import InventoryError, Problem

GOOD = """\
version: 1
environment: lab
stores:
  us: {bucket: backups-us}
  eu: {bucket: backups-eu, endpoint: "https://s3.example.com"}
postgres:
  observatory:
    dsn: host=db user=ccobs dbname=observatory
    store: us
"""


def problems(text: str) -> list[Problem]:
    with pytest.raises(InventoryError) as caught:
        loads(text, "inv.yaml")
    return list(caught.value.problems)


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def with_target(lines: str) -> str:
    """GOOD with `lines` added to its target, which begin on line 10."""
    return GOOD + "".join(f"    {line}\n" for line in lines.splitlines())
