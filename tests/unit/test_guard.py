"""Nothing is destroyed unless all three keys are turned, and each refusal says which one is not."""

from __future__ import annotations

import itertools

import pytest

from ccobs_ops.core.errors import RefusedError
from ccobs_ops.core.guard import Permit, permit

TARGET = "postgres/observatory"


def ask(
    *, allowed: tuple[str, ...] = ("retention",), dry_run: bool = False, confirmation: str | None = TARGET
) -> Permit:
    return permit("retention", TARGET, allowed=allowed, dry_run=dry_run, confirmation=confirmation)


def test_with_all_three_keys_turned_the_permit_names_what_it_is_for() -> None:
    assert ask() == Permit("retention", TARGET)


@pytest.mark.parametrize("keys", list(itertools.product([True, False], repeat=3))[1:])
def test_one_key_that_is_not_turned_is_enough_to_refuse(keys: tuple[bool, bool, bool]) -> None:
    wet, confirmed, allowed = keys
    with pytest.raises(RefusedError) as caught:
        ask(
            dry_run=not wet,
            confirmation=TARGET if confirmed else None,
            allowed=("retention",) if allowed else (),
        )
    assert caught.value.exit_status == 2
    assert caught.value.hint


@pytest.mark.parametrize(
    "confirmation",
    [
        None,
        "",
        "yes",
        "observatory",
        "postgres/observatory ",
        "Postgres/observatory",
        "postgres/observatory2",
        "*",
    ],
)
def test_only_the_targets_exact_name_confirms(confirmation: str | None) -> None:
    with pytest.raises(RefusedError, match="is not confirmed") as caught:
        ask(confirmation=confirmation)
    assert f"--confirm {TARGET}" in caught.value.hint


def test_a_dry_run_is_told_as_such_first() -> None:
    with pytest.raises(RefusedError, match="is a dry run: nothing was changed"):
        ask(dry_run=True, confirmation=None, allowed=())


@pytest.mark.parametrize("allowed", [(), ("failover",), ("Retention",), ("retentio",)])
def test_the_inventory_must_allow_this_very_action(allowed: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError, match="does not allow retention") as caught:
        ask(allowed=allowed)
    assert "'retention'" in caught.value.hint
