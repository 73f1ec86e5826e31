"""What must hold between the keys of an inventory, beyond what each key allows on its own.

Each rule is a generator over a parsed inventory; a rule says which keys it judged (`about`), so that it is not applied
where one of them was already found to be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import timedelta
from itertools import combinations

from ccobs_ops.core.units import format_duration
from ccobs_ops.inventory import Credentials, Inventory, Postgres, Store
from ccobs_ops.inventory_etcd import Etcd
from ccobs_ops.inventory_problems import Key, Violation, did_you_mean
from ccobs_ops.inventory_replication import ReplicationPair
from ccobs_ops.inventory_rules_alerts import alerts_violations
from ccobs_ops.inventory_rules_drills import drill_violations
from ccobs_ops.inventory_rules_etcd import etcd_violations
from ccobs_ops.inventory_terraform import TerraformRoot

_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@?#\s]*:[^/@?#\s]+@", re.IGNORECASE)
_KEYWORD_PASSWORD = re.compile(r"(?:^|[\s?&])(?:ssl)?password\s*=", re.IGNORECASE)


def violations(inventory: Inventory, *, store_names: Collection[str]) -> Iterator[Violation]:
    """Everything in `inventory` that contradicts itself.

    `store_names` are all stores that the file names, also those that are wrong and therefore missing from `inventory`.
    """
    yield from _stores(inventory)
    yield from _archives(inventory)
    for name, target in inventory.postgres.items():
        key: Key = ("postgres", name)
        yield from _store_exists(key, target, store_names)
        yield from _objectives(key, target)
        yield from _checks(key, target)
        if _holds_password(target.dsn):
            yield Violation(
                (*key, "dsn"),
                "a password is written down in the dsn",
                "take it out, name it as `password: file:PATH` or `password: env:NAME`, and change it if others saw it",
                ((*key, "dsn"),),
            )
    for name, root in inventory.terraform.items():
        yield from _terraform(("terraform", name), name, root, inventory)
    for name, target in inventory.etcd.items():
        yield from _store_exists(("etcd", name), target, store_names)
    yield from etcd_violations(inventory)
    for name, pair in inventory.replication.items():
        yield from _replication(("replication", name), pair, inventory, store_names)
    yield from _evidence(inventory, store_names)
    yield from _repaired(inventory)
    yield from alerts_violations(inventory)
    yield from drill_violations(inventory, store_names=store_names)
    if inventory.ledger is not None and _holds_password(inventory.ledger):
        yield Violation(
            ("ledger",),
            "a password is written down in the ledger's URL",
            "name where the URL is instead: env:NAME, file:PATH or secretsmanager:ARN",
            (("ledger",),),
        )


def _evidence(inventory: Inventory, store_names: Collection[str]) -> Iterator[Violation]:
    """Evidence is copied to a store that is there and lets nobody remove it, and only once it is signed."""
    found, where = inventory.evidence, ("evidence", "store")
    if found.store is None:
        return
    if found.store not in store_names:
        known = ", ".join(sorted(store_names)) or "none"
        hint = did_you_mean(found.store, store_names) or f"known stores: {known}"
        yield Violation(where, f"there is no store {found.store!r}", hint, (where,))
    elif (store := inventory.stores.get(found.store)) is not None and store.object_lock is None:
        yield Violation(
            where,
            f"the store {found.store!r} has no object_lock: whoever can write to it can remove the evidence",
            f"add `object_lock: {{mode: COMPLIANCE, retain: 400d}}` to stores.{found.store}",
            (where, ("stores", found.store, "object_lock")),
        )
    if found.key is None:
        yield Violation(
            where,
            "evidence is copied, and there is no key that it is signed with",
            "make one with `ccobs-ops evidence keygen FILE`, and name it as `key: file:FILE`",
            (where, ("evidence", "key")),
        )


def _repaired(inventory: Inventory) -> Iterator[Violation]:
    """Every target that has a policy of its own is there, and a command that restarts is one."""
    known = {f"{noun}/{name}" for noun in _NOUNS for name in getattr(inventory, noun)}
    for target, policy in inventory.remediation.targets.items():
        where = ("remediation", "targets", target)
        if target not in known:
            hint = did_you_mean(target, known) or f"targets: {', '.join(sorted(known)) or 'none'}"
            yield Violation(
                where, f"there is no target {target!r}", hint, (where, *((each,) for each in _NOUNS))
            )
        if policy.allow is not None and "restart" in policy.allow and not policy.restart:
            yield Violation(
                where,
                "it allows `restart` and names no command",
                "add restart: [systemctl, restart, UNIT]",
                (where,),
            )


_NOUNS = ("postgres", "etcd", "replication", "terraform")


def _terraform(key: Key, name: str, root: TerraformRoot, inventory: Inventory) -> Iterator[Violation]:
    """The other roots and targets that a root names are there, and what is never looked at is not promised."""
    named = [("parity_with", other) for other in (root.parity_with,) if other is not None]
    named += [("account", other) for other in (root.account.also_managed_by if root.account else ())]
    for part, other in named:
        where = (*key, part)
        if other == name:
            yield Violation(where, "a root cannot be compared with itself", "name another root", (where,))
        elif other not in inventory.terraform:
            hint = did_you_mean(other, inventory.terraform) or f"roots: {', '.join(inventory.terraform)}"
            yield Violation(where, f"there is no terraform root {other!r}", hint, (where,))
    targets = {f"postgres/{each}" for each in inventory.postgres}
    for target in root.remediation.validated_by.values():
        if target not in targets:
            where = (*key, "remediation", "validated_by")
            hint = did_you_mean(target, targets) or f"targets: {', '.join(sorted(targets)) or 'none'}"
            yield Violation(
                where, f"there is no target {target!r} that is validated", hint, (where, ("postgres",))
            )
    for variable, value in root.settings.items():
        if _SECRET_SETTING.search(variable) or _URL_PASSWORD.match(value):
            where = (*key, "settings", variable)
            yield Violation(
                where,
                f"{variable} looks like a secret that is written down",
                f"name it under `environment: {{{variable}: env:{variable}}}` instead",
                (where,),
            )
    for part, value in root.backend_config.items():
        if _SECRET_SETTING.search(part) or _URL_PASSWORD.match(value):
            where = (*key, "backend_config", part)
            yield Violation(
                where,
                f"{part} looks like a secret that is written down, and would be on a command line",
                "hand it to the backend by its environment variable, under `environment`",
                (where,),
            )


_SECRET_SETTING = re.compile(
    r"password|passwd|secret|token(?!_file|_bucket)|access_key|private_key", re.IGNORECASE
)


def _holds_password(text: str) -> bool:
    return bool(_URL_PASSWORD.match(text.strip()) or _KEYWORD_PASSWORD.search(text))


def archive_prefix(name: str, target: Postgres | Etcd) -> str:
    """Where below its store's prefix the archive of target `name` lies."""
    noun = "postgres" if isinstance(target, Postgres) else "etcd"
    return (target.prefix or f"{noun}/{name}").strip("/")


def _place(store: Store) -> tuple[str, str]:
    return ((store.endpoint or "").rstrip("/").lower(), store.bucket)


def _joined(*parts: str) -> str:
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def _within(one: str, other: str) -> bool:
    """Whether folder `other` is `one`, or lies in it."""
    return not one or other == one or other.startswith(f"{one}/")


def _stores(inventory: Inventory) -> Iterator[Violation]:
    first: dict[tuple[tuple[str, str], str], str] = {}
    for name, store in inventory.stores.items():
        key: Key = ("stores", name)
        known = first.setdefault((_place(store), store.prefix.strip("/")), name)
        if known != name:
            judged = [
                ("stores", each, part) for each in (name, known) for part in ("bucket", "prefix", "endpoint")
            ]
            yield Violation(
                (*key, "bucket"),
                f"this is the same endpoint, bucket and prefix as stores.{known}",
                "keep one of the two, or give one another prefix",
                tuple(judged),
            )
        if _URL_PASSWORD.match(store.endpoint or ""):
            yield Violation(
                (*key, "endpoint"),
                "a password is written down in the endpoint",
                "name the keys under `credentials` instead",
                ((*key, "endpoint"),),
            )
        yield from _credentials((*key, "credentials"), store.credentials)
        if store.read_only is not None:
            yield from _credentials((*key, "read_only"), store.read_only)
        yield from _encryption((*key, "encryption"), store)


def _credentials(key: Key, found: Credentials) -> Iterator[Violation]:
    pair = ((*key, "access_key"), (*key, "secret_key"))
    if found.access_key is not None and found.secret_key is None:
        yield Violation(pair[0], "an access_key without a secret_key", "add `secret_key:`", pair)
    elif found.secret_key is not None and found.access_key is None:
        yield Violation(pair[1], "a secret_key without an access_key", "add `access_key:`", pair)
    elif found.session_token is not None and found.access_key is None:
        where = (*key, "session_token")
        yield Violation(
            where, "a session_token without an access_key", "add the keys that it goes with", pair
        )


def _encryption(key: Key, store: Store) -> Iterator[Violation]:
    found = store.encryption
    if found is None:
        return
    judged = ((*key, "mode"), (*key, "kms_key"))
    if found.mode == "aws:kms" and found.kms_key is None and store.endpoint is not None:
        yield Violation(
            judged[0],
            "aws:kms without a kms_key: only AWS itself has a default key, and this store has its own endpoint",
            "add `kms_key:`, or use mode AES256",
            judged,
        )
    if found.mode == "AES256" and found.kms_key is not None:
        yield Violation(
            judged[1], "a kms_key is not used with AES256", "use mode aws:kms, or remove the key", judged
        )


def _store_exists(key: Key, target: Postgres | Etcd, store_names: Collection[str]) -> Iterator[Violation]:
    if target.store in store_names:
        return
    known = ", ".join(sorted(store_names)) or "none"
    hint = did_you_mean(target.store, store_names) or f"known stores: {known}"
    where = (*key, "store")
    yield Violation(where, f"there is no store {target.store!r}", hint, (where,))


def _replication(
    key: Key, pair: ReplicationPair, inventory: Inventory, store_names: Collection[str]
) -> Iterator[Violation]:
    known = ", ".join(sorted(store_names)) or "none"
    for side, store in (("source", pair.source), ("replica", pair.replica)):
        where = (*key, side)
        if store not in store_names:
            hint = did_you_mean(store, store_names) or f"known stores: {known}"
            yield Violation(where, f"there is no store {store!r}", hint, (where,))
    both = ((*key, "source"), (*key, "replica"))
    if pair.source == pair.replica:
        message = f"the store {pair.source!r} is both source and replica: it is always equal to itself"
        yield Violation(both[1], message, "name the store in the other region", both)
    exports = (*key, "exports")
    if pair.mode == "inventory" and pair.exports is None:
        message = "mode inventory without exports: nothing says where the inventories of both sides are"
        yield Violation(
            (*key, "mode"), message, "add `exports:` with source and replica", ((*key, "mode"), exports)
        )
    if pair.canary.window < 10 * pair.canary.interval:
        told = f"canary.window ({format_duration(pair.canary.window)}) holds fewer than ten canaries"
        yield Violation(
            (*key, "canary", "window"),
            f"{told}, one every {format_duration(pair.canary.interval)}",
            "raise canary.window, or lower canary.interval",
            ((*key, "canary", "window"), (*key, "canary", "interval")),
        )
    if pair.rpo < pair.canary.interval:
        told = f"rpo ({format_duration(pair.rpo)}) is shorter than canary.interval"
        yield Violation(
            (*key, "rpo"),
            f"{told} ({format_duration(pair.canary.interval)}): a lag that small could not be measured",
            "raise rpo, or lower canary.interval",
            ((*key, "rpo"), (*key, "canary", "interval")),
        )


def _archives(inventory: Inventory) -> Iterator[Violation]:
    targets: dict[tuple[str, str], Postgres | Etcd] = {
        **{("postgres", name): target for name, target in inventory.postgres.items()},
        **{("etcd", name): target for name, target in inventory.etcd.items()},
    }
    archives: list[tuple[tuple[str, str], tuple[str, str], str]] = []
    for key, target in targets.items():
        store = inventory.stores.get(target.store)
        if store is not None:
            path = _joined(store.prefix, archive_prefix(key[1], target))
            archives.append((key, _place(store), path))
    for (one, place, path), (two, other_place, other_path) in combinations(archives, 2):
        if place != other_place or not (_within(path, other_path) or _within(other_path, path)):
            continue
        stores = {targets[key].store for key in (one, two)}
        judged: list[Key] = [(*key, part) for key in (one, two) for part in ("prefix", "store")]
        judged += [("stores", name, part) for name in stores for part in ("bucket", "prefix", "endpoint")]
        first = ".".join(one)
        how = (
            f"this archive, {path!r}, is that of {first} too"
            if path == other_path
            else f"this archive, {other_path!r}, overlaps that of {first}, {path!r}"
        )
        yield Violation(
            (*two, "prefix" if targets[two].prefix is not None else "store"),
            f"{how}: one target's retention would delete the other's backups",
            f"give each target a prefix of its own (default: {two[0]}/NAME)",
            tuple(judged),
        )


def _objectives(key: Key, target: Postgres) -> Iterator[Violation]:
    spans: dict[str, timedelta] = {
        "objectives.rto": target.objectives.rto,
        "objectives.rpo": target.objectives.rpo,
        "objectives.backup_age": target.objectives.backup_age,
        "objectives.backup_duration": target.objectives.backup_duration,
        "objectives.time_to_detect": target.objectives.time_to_detect,
        "canary.interval": target.canary.interval,
        "archive.partial_interval": target.archive.partial_interval,
        "sandbox.ttl": target.sandbox.ttl,
        "retention.window": target.retention.window,
        "backup.deadline": target.backup.deadline,
    }
    written = {
        f"{part}.{name}"
        for part in ("objectives", "canary", "archive", "sandbox", "retention", "backup")
        for name in getattr(target, part).model_fields_set
    }
    for short, long, why in _NOT_SHORTER:
        if spans[short] >= spans[long]:
            continue
        pointed = short if short in written or long not in written else long
        yield Violation(
            (*key, *pointed.split(".")),
            f"{short} ({format_duration(spans[short])}) is shorter than {long} ({format_duration(spans[long])}): {why}",
            f"raise {short}, or lower {long}",
            ((*key, *short.split(".")), (*key, *long.split("."))),
        )


_NOT_SHORTER = (
    ("objectives.rpo", "canary.interval", "a loss that small could not be measured"),
    ("objectives.rpo", "archive.partial_interval", "more than that can be lost between two uploads"),
    ("objectives.time_to_detect", "canary.interval", "a missing canary is noticed after an interval at best"),
    (
        "objectives.backup_age",
        "objectives.backup_duration",
        "a backup would be too old before it is finished",
    ),
    ("backup.deadline", "objectives.backup_duration", "a backup would be ended while it is still in time"),
    ("sandbox.ttl", "objectives.rto", "a restore would be torn down while it is still in time"),
    (
        "retention.window",
        "objectives.backup_age",
        "the newest backup may be older than all that is kept",
    ),
)
"""(a, b, why): a must not be shorter than b."""


def _checks(key: Key, target: Postgres) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for position, check in enumerate(target.checks):
        where: Key = (*key, "checks", position)
        known = first.setdefault(check.name, position)
        if known != position:
            yield Violation(
                (*where, "name"),
                f"the check {check.name!r} is there twice, first as checks[{known}]",
                "each check's result is reported by its name: give this one another",
                (where, (*key, "checks", known)),
            )
        if check.compare and check.expect is not None:
            message = f"the check {check.name!r} has both `expect` and `compare`"
            yield Violation(
                where, message, "keep one: a fixed value, or the same query on production", (where,)
            )
        if not check.compare and check.expect is None:
            message = f"the check {check.name!r} has neither `expect` nor `compare`: it could not fail"
            yield Violation(where, message, "add `expect: VALUE`, or `compare: true`", (where,))
