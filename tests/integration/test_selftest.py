"""The self-test on a real lab: faults found, named, told to the pager, and closed by proofs; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres.backup import back_up
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.faults import active
from ccobs_ops.lab.selftest.run import selftest
from ccobs_ops.lab.services.pager import messages
from tests.lab_support import take_down_and_check

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Context]]:
    directory = tmp_path_factory.mktemp("selftest") / "lab"
    try:
        lab = Lab.up(directory, scale=0.02, services=["agent", "writer", "terraform", "pager"])
        inventory = load(lab.inventory_path)
        with Ledger.of(inventory) as ledger:
            ctx = Context(inventory, ledger)
            taken = back_up(ctx, "observatory")
            assert taken.verdict is Verdict.PASSED, taken.reason
            yield lab, ctx
    finally:
        take_down_and_check(directory)


def test_faults_alone_and_as_a_pair_are_found_told_and_closed(estate: tuple[Lab, Context]) -> None:
    lab, ctx = estate
    done = selftest(ctx, lab, faults=["backup-missing", "drift-untag"], pairs=1, seed=3)
    assert done.verdict is Verdict.PASSED, json.dumps(done.to_json(), indent=1)
    assert {claim.name for claim in done.claims} == {"recall", "no_false_alarm", "closed", "told"}
    assert (done.measurements["injected"], done.measurements["pairs"]) == (4, 1)
    assert done.measurements["recall_ratio"] == 1
    assert (
        0
        < done.measurements["time_to_detect_p50_seconds"]
        <= done.measurements["time_to_restore_max_seconds"]
    )
    outcomes = [one for each in done.details["rounds"] for one in each["outcomes"]]
    assert all(one["incident"] and one["alerted"] for one in outcomes)
    recorded = ctx.ledger.latest("ccobs/selftest", "selftest")
    assert recorded is not None and recorded.id == done.id
    assert active(lab) == ()
    opened = incidents.listed(ctx.ledger)
    assert opened and not any(each.is_open for each in opened)
    bodies = [json.loads(line)["body"] for line in messages(lab.plan).read_text().splitlines()]
    kinds = {body["key"]: {each["kind"] for each in bodies if each["key"] == body["key"]} for body in bodies}
    assert kinds["postgres/observatory window backups_intact"] >= {"opened", "resolved"}


def test_another_environment_is_refused_before_anything_is_broken(
    estate: tuple[Lab, Context], tmp_path: Path
) -> None:
    lab, ctx = estate
    from dataclasses import replace

    staging = replace(ctx, inventory=ctx.inventory.model_copy(update={"environment": "staging"}))
    before = len(ctx.ledger.exercises(limit=1000))
    with pytest.raises(UsageError, match="staging"):
        selftest(staging, lab)
    assert active(lab) == ()
    assert len(ctx.ledger.exercises(limit=1000)) == before


def test_a_fault_that_is_not_there_is_refused(estate: tuple[Lab, Context]) -> None:
    lab, ctx = estate
    with pytest.raises(UsageError, match="no-such-fault"):
        selftest(ctx, lab, faults=["no-such-fault"])


def test_what_another_fault_has_taken_away_cannot_be_damaged_and_says_so(estate: tuple[Lab, Context]) -> None:
    lab, _ = estate
    lab.break_("store-down")
    try:
        with pytest.raises(OpsError, match="cannot be reached"):
            lab.break_("drift-untag", at="terraform/production")
        assert [each.fault for each in active(lab)] == ["store-down"]
    finally:
        lab.heal()
