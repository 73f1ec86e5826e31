"""Inventory of evidence and reports: what it is signed with, where the locked copy goes, what a report spans."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from ccobs_ops.inventory_types import Duration, Model, SecretRef


class Evidence(Model):
    """How evidence is signed and kept. Without `key` nothing is signed, and a ledger that lost its end cannot be told."""

    key: SecretRef | None = None
    store: str | None = None
    prefix: str = "evidence"


class Report(Model):
    """What the asset `recovery/report` writes, below the state folder's `reports`."""

    since: Duration = timedelta(days=90)
    formats: tuple[Literal["html", "md", "json", "pdf"], ...] = ("html", "json")
