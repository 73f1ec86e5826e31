"""Which inventory a code location shows."""

import os
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core.errors import UsageError
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import VARIABLE, load, locate

EXAMPLE = Path(__file__).resolve().parents[2] / "inventory.example.yaml"


@dataclass(frozen=True)
class InventorySource:
    """An inventory and the file that it came from."""

    path: Path
    inventory: Inventory
    is_example: bool

    @classmethod
    def find(cls) -> "InventorySource":
        """CCOBS_INVENTORY, else ./inventory.yaml, else the annotated example of a clean clone.

        A variable that names a missing file is an error and never falls through to the example. Raises UsageError.
        """
        try:
            path = locate(None, os.environ).resolve()
        except UsageError:
            if not EXAMPLE.exists():
                raise
            path = EXAMPLE
        inventory = load(path)
        return cls(path, inventory, path == EXAMPLE or inventory.environment == "example")

    @property
    def note(self) -> str:
        """What every description begins with: nothing, or that this is only the example."""
        return (
            f"**Example inventory: schedules are off, nothing here exists.** Set {VARIABLE} to yours.\n\n"
            if self.is_example
            else ""
        )
