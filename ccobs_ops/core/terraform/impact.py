"""What a change does to recovery, by rules that are data (`impact_rules.yaml`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImpactRules:
    """All rules, read once."""


def load_rules(extra: Sequence[Path] = ()) -> ImpactRules:
    """The rules that come with this package and those in the files `extra` (inventory: `impact_rules`).

    Raises UsageError for a rule that cannot be read.
    """
    raise NotImplementedError(extra)
