"""What another process does at this moment is refused and not recorded: it is no sign that anything is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.drill.run import Asked, drill
from ccobs_ops.core.errors import BusyError
from ccobs_ops.core.folders import only_one
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.replication.compare import compare
from ccobs_ops.inventory_load import loads

INVENTORY = """\
version: 1
environment: lab
stores: {us: {bucket: backups-us}, eu: {bucket: backups-eu}}
postgres: {main: {dsn: host=db, store: us}}
replication: {backups: {source: us, replica: eu, rpo: 1m}}
drills: {whole: {scenario: database-loss, targets: [{target: postgres/main}]}}
"""


@pytest.mark.parametrize(
    ("lock", "start"),
    [
        ("replication/backups/lock", lambda ctx: compare(ctx, "backups")),
        ("drill/whole.lock", lambda ctx: drill(ctx, "whole", Asked("ann", "a test"), dry_run=False)),
    ],
)
def test_what_is_under_way_already_is_refused_and_leaves_no_row(
    tmp_path: Path, lock: str, start: Callable[[Context], object]
) -> None:
    inventory = loads(INVENTORY, tmp_path / "inventory.yaml")
    with Ledger.of(inventory) as ledger:
        ctx = Context(inventory, ledger)
        with (
            only_one(inventory.state / lock, "held", hint=""),
            pytest.raises(BusyError, match="already") as refused,
        ):
            start(ctx)
        assert refused.value.hint
        assert ledger.exercises(limit=10) == []
