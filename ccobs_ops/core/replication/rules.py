"""Why an object may rightly be absent from the replica: the rules that the replicator was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccobs_ops.inventory_replication import ReplicationPair


def excluded(pair: ReplicationPair, key: str, storage_class: str) -> str:
    """The rule that leaves `key` out, as a sentence; "" when none does. `storage_class` is "" where it is not known."""
    rules = pair.rules
    if key.startswith(pair.canary_prefix):
        return "canaries come and go"
    for prefix in rules.exclude_prefixes:
        if key.startswith(prefix):
            return f"the prefix {prefix} is not replicated"
    if rules.prefixes and not any(key.startswith(prefix) for prefix in rules.prefixes):
        return f"only {', '.join(rules.prefixes)} are replicated"
    if rules.storage_classes and storage_class and storage_class not in rules.storage_classes:
        return f"storage class {storage_class} is not replicated"
    return ""


def untagged(pair: ReplicationPair, tags: dict[str, str]) -> str:
    """Why an object with `tags` is not replicated, "" when it is."""
    lacking = [f"{name}={value}" for name, value in pair.rules.tags.items() if tags.get(name) != value]
    return f"it is not tagged {', '.join(lacking)}" if lacking else ""
