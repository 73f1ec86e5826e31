"""A pair of buckets on the synthetic list server, compared as the command line compares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.replication.rows import Few, Row
from bench.replication.server import Server, Trouble, serving
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.replication import report
from ccobs_ops.core.replication.compare import compare
from ccobs_ops.core.replication.difference import Difference
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads

LONG_AGO = "2026-01-02T03:04:05.000Z"


def ago(seconds: float) -> str:
    """A LastModified that many seconds before now."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass
class Pair:
    """Two buckets and the inventory that pairs them."""

    directory: Path
    source: Few
    replica: Few
    trouble: Trouble = field(default_factory=Trouble)
    settings: dict[str, Any] = field(default_factory=dict)
    stores: dict[str, Any] = field(default_factory=dict)
    server: Server | None = None

    @property
    def inventory(self) -> Inventory:
        """As `inventory.yaml` in the folder would be read."""
        import yaml

        endpoint = self.server.endpoint if self.server else "http://127.0.0.1:9"
        common = {
            "endpoint": endpoint,
            "addressing": "path",
            "timeout": "20s",
            "attempts": 3,
            "credentials": {"access_key": f"file:{self.key}", "secret_key": f"file:{self.key}"},
        }
        document = {
            "version": 1,
            "environment": "lab",
            "stores": {
                "us": {"bucket": "source", **common, **self.stores.get("us", {})},
                "eu": {"bucket": "replica", **common, **self.stores.get("eu", {})},
            },
            "replication": {
                "pair": {
                    "source": "us",
                    "replica": "eu",
                    "hash_sample": 0.0,
                    "concurrency": 4,
                    **self.settings,
                }
            },
        }
        path = self.directory / "inventory.yaml"
        path.write_text(yaml.safe_dump(document))
        return loads(path.read_text(), path)

    @property
    def key(self) -> Path:
        """A file that stands for both halves of an access key; the server looks at neither."""
        path = self.directory / "key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text("not-checked-by-this-server\n")
        return path

    def compare(self, **options: Any) -> Exercise:
        """One comparison."""
        inventory = self.inventory
        with Ledger.of(inventory) as ledger:
            return compare(Context(inventory, ledger), "pair", **options)

    def differences(self) -> list[Difference]:
        """What the newest comparison left on disk."""
        found = report.newest(self.inventory, "pair")
        assert found is not None
        return list(found.differences())

    def found(self, **options: Any) -> list[tuple[str, str]]:
        """Kind and key of all that a comparison finds."""
        exercise = self.compare(**options)
        assert "differences" in exercise.details, exercise.reason
        return [(each.kind.value, each.key) for each in self.differences()]


@contextmanager
def paired(
    directory: Path, source: list[Row], replica: list[Row], trouble: Trouble | None = None, **settings: Any
) -> Iterator[Pair]:
    """A served pair."""
    stores = settings.pop("stores", {})
    pair = Pair(directory, Few(source), Few(replica), trouble or Trouble(), settings, stores)
    with serving({"source": pair.source, "replica": pair.replica}, pair.trouble) as server:
        pair.server = server
        yield pair
