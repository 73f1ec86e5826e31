"""Ignore rules: they silence what a scan reports and never change a plan."""

from __future__ import annotations

from datetime import date
from typing import Protocol


class IgnoreRule(Protocol):
    """As the inventory writes it. `address` and `attribute` are globs; without `attribute` the whole object is meant.

    `covers_recovery` is the extra word without which nothing that recovery rests on is ever silenced.
    """

    @property
    def address(self) -> str: ...
    @property
    def attribute(self) -> str | None: ...
    @property
    def owner(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def expires(self) -> date: ...
    @property
    def covers_recovery(self) -> bool: ...
