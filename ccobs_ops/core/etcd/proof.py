"""What a drill proves about a running copy: each function makes one claim, and names what it found."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd import canary as canaries
from ccobs_ops.core.etcd.access import CompactedError, KvHash
from ccobs_ops.core.etcd.boltdb import BoltFile
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.copy import FAILOVER_SECONDS, Copy
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.etcd.messages import parse_key_value
from ccobs_ops.core.etcd.objects import ROOT, Survey, after, count_resources
from ccobs_ops.core.exercise import Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.units import format_duration, format_seconds

_TRIAL_KEY = b"/ccobs/drill"
_SHOWN = 5
_TRY_SECONDS = 1.0
"""A write to a cluster that is electing is answered after seven seconds; asking anew finds the leader sooner."""


def open_file(path: Path) -> BoltFile:
    """The snapshot file on this host, read page by page."""

    def fetch(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return BoltFile(fetch, path.stat().st_size - 32, str(path))


def prove_counts(rec: Recorder, entry: Entry, copy: Copy, stored: int) -> None:
    """Claim `counts`: revision and key counts are the catalogue's; `stored` is the revision that the file itself says."""
    wrong: list[str] = []
    if stored != entry.revision:
        wrong.append(f"the file is of revision {stored}, the catalogue says {entry.revision}")
    now = copy.client.status().revision
    if now < entry.revision:
        wrong.append(f"the copy is at revision {now}, the catalogue says {entry.revision}")
    elif now > entry.revision:
        rec.details["revision_after_start"] = now  # leases that ran out while it started
    for prefix, expected in entry.counts.items():
        found = _count(copy.client, prefix, entry.revision)
        if found != expected:
            wrong.append(f"{found} keys below {prefix or 'everything'}, the catalogue says {expected}")
    for told in wrong:
        rec.find(
            "content_differs", Severity.CRITICAL, entry.id, told, "keep this snapshot and take a new one"
        )
    keys = entry.counts.get("")
    if wrong:
        rec.claim(failed("counts", wrong[0]))
    elif keys is None:
        rec.claim(unknown("counts", "the catalogue has no key counts of this snapshot"))
    else:
        rec.measurements["keys"] = float(keys)
        rec.claim(passed("counts", f"revision {entry.revision} and {keys} keys, as the catalogue says"))


def prove_identical(
    rec: Recorder, cluster: EtcdCluster, entry: Entry, copy: Copy, *, production: bool = True
) -> None:
    """Claim `identical`: HashKV at the snapshot's revision is production's, or, where it has compacted past it, the recorded.

    Two hashes are comparable only where both have compacted alike; the copy is ours, so it is compacted as production is.
    Without `production`, which then counts as lost, only the recorded one is compared.
    """
    mine = copy.client.hash_kv(entry.revision)
    recorded: bool | None = None
    if entry.hash is not None and entry.hash_compact_revision == mine.compact_revision:
        recorded = mine.hash == entry.hash
        if not recorded:
            told = f"HashKV at revision {entry.revision} is {mine.hash}; when the snapshot was taken it was {entry.hash}"
            rec.find(
                "hash_mismatch", Severity.CRITICAL, entry.id, told, "do not use this snapshot; take a new one"
            )
            rec.claim(failed("identical", told))
            return
    theirs = _productions(cluster, entry) if production else None
    rec.details["hash"] = mine.hash
    if isinstance(theirs, str):
        rec.claim(unknown("identical", f"production could not be asked for its hash: {theirs}"))
        return
    if theirs is None:
        why = "production has compacted past it" if production else "production counts as lost"
        if recorded:
            rec.claim(
                passed(
                    "identical",
                    f"HashKV {mine.hash} at revision {entry.revision} is the one recorded when it was taken; {why}",
                )
            )
        else:
            rec.claim(unknown("identical", f"{why}, and no hash was recorded that compares"))
        return
    if theirs.compact_revision > mine.compact_revision:
        copy.client.compact(theirs.compact_revision)
        mine = copy.client.hash_kv(entry.revision)
    if theirs.compact_revision != mine.compact_revision:
        told = f"production has compacted up to {theirs.compact_revision}, the copy up to {mine.compact_revision}"
        rec.claim(unknown("identical", told))
    elif theirs.hash == mine.hash:
        rec.claim(passed("identical", f"HashKV {mine.hash} at revision {entry.revision} is production's"))
    else:
        told = f"HashKV at revision {entry.revision} is {mine.hash}, production's is {theirs.hash}"
        hint = "see ccobs-ops etcd health: do the members agree?"
        rec.find("hash_mismatch", Severity.CRITICAL, entry.id, told, hint)
        rec.claim(failed("identical", told))


def _productions(cluster: EtcdCluster, entry: Entry) -> KvHash | str | None:
    """Production's hash at the snapshot's revision; None where it has compacted past it, words where it was not told."""
    try:
        with cluster.access() as access:
            view = access.look()
            if not view.answered:
                return (
                    "; ".join(f"{each.endpoint}: {each.reason}" for each in view.silent)
                    or "no member answers"
                )
            member = max(view.answered, key=lambda each: (bool(each.leader), each.revision))
            if f"{member.cluster_id:x}" != entry.cluster_id:
                return f"it is another cluster now ({member.cluster_id:x}, the snapshot is of {entry.cluster_id})"
            return access.hash_kv(member.endpoint, entry.revision)
    except CompactedError:
        return None
    except OpsError as error:
        return error.message


def prove_readable(
    rec: Recorder, entry: Entry, copy: Copy, file: BoltFile, count: int, seed: int
) -> Survey | None:
    """Claim `readable`: keys that were drawn from the file are served with that value and revision.

    Returns what the objects among them are, if the store is a Kubernetes one.
    """
    if not count:
        return None
    drawn = {
        (each.main, each.sub): each for each in file.sample(count, random.Random(seed)) if not each.deletion
    }
    looked = 0
    wrong: list[str] = []
    survey = Survey()
    for each in drawn.values():
        wanted = parse_key_value(each.value)
        compacted = each.main <= entry.compact_revision
        found = copy.client.range(
            wanted.key, revision=entry.revision if compacted else each.main, local=True
        ).kvs
        if compacted and (not found or found[0].mod_revision > each.main):
            continue  # written over or deleted since, and not yet gone from the file: nobody is served it
        looked += 1
        if not found or (found[0].mod_revision, found[0].value) != (each.main, wanted.value):
            shown = wanted.key.decode("utf-8", "backslashreplace")
            wrong.append(f"{shown} of revision {each.main} is {'another' if found else 'not there'}")
        elif wanted.key.startswith(ROOT):
            survey.add(wanted.key, wanted.value)
    rec.measurements["keys_sampled"] = float(looked)
    for told in wrong[:_SHOWN]:
        rec.find("key_differs", Severity.CRITICAL, entry.id, told, "do not use this snapshot; take a new one")
    if wrong:
        rec.claim(failed("readable", f"{len(wrong)} of {looked} sampled keys are wrong: {wrong[0]}"))
    elif looked:
        rec.claim(passed("readable", f"all {looked} keys drawn from the file are served as they lie in it"))
    else:
        rec.claim(unknown("readable", "the file holds no key to draw"))
    return survey


def report_objects(rec: Recorder, entry: Entry, copy: Copy, survey: Survey | None) -> None:
    """Kubernetes objects: how many of each resource, and how the sampled ones are encoded. Never a value."""
    counts = count_resources(_Ranger(copy.client), revision=entry.revision)
    if not counts:
        return
    rec.details["objects"] = counts
    rec.measurements["objects"] = float(sum(counts.values()))
    if survey is None:
        return
    report = survey.report()
    rec.details["survey"] = report.to_json()
    if report.encryption_keys:
        rec.details["encryption_keys"] = ", ".join(report.encryption_keys)
    if report.secrets_in_clear:
        rec.find(
            "secrets_in_clear",
            Severity.WARNING,
            entry.id,
            f"{report.secrets_in_clear} of the sampled Kubernetes secrets are not encrypted at rest",
            "give the API server an EncryptionConfiguration, then rewrite all secrets",
        )
    if report.misplaced_count:
        rec.find(
            "object_misplaced",
            Severity.CRITICAL,
            report.misplaced[0],
            f"{report.misplaced_count} objects bear another name than their key",
            "an API server would serve them under the wrong name: compare with another snapshot",
        )


def prove_canaries(
    ctx: Context, rec: Recorder, cluster: EtcdCluster, entry: Entry, copy: Copy
) -> canaries.Comparison | None:
    """Claim `exact`: the canaries on record up to the snapshot are there, each at its revision, and no other."""
    config = cluster.config.canary
    recorded, lost = canaries.recorded_at(
        ctx.ledger,
        cluster.target,
        entry.started_at,
        entry.stopped_at,
        keep=config.keep,
        revision=entry.revision,
    )
    found = canaries.read_slots(copy.client, config.prefix, revision=entry.revision)
    result = canaries.compare(recorded, found, revision=entry.revision, keep=config.keep, lost=lost)
    rec.measurements |= {
        "canaries_expected": float(result.expected),
        "canaries_present": float(result.present),
    }
    if not result.exact:
        parts = (
            ("missing", result.missing, "canary_missing"),
            ("not on record", result.unexpected, "canary_unexpected"),
            ("at another revision", result.changed, "canary_changed"),
        )
        told = "; ".join(f"{len(seqs)} {what}, first {seqs[0]}" for what, seqs, _ in parts if seqs)
        for what, seqs, code in parts:
            if seqs:
                rec.find(
                    code,
                    Severity.CRITICAL,
                    f"canary {seqs[0]}",
                    f"{len(seqs)} of {result.expected} canaries are {what}, from {seqs[0]} to {seqs[-1]}",
                    "this copy is not what was committed up to that revision: keep it, and compare other snapshots",
                )
        rec.claim(failed("exact", told))
        return result
    if result.last is None:
        rec.claim(
            unknown("exact", f"no canary is on record for {cluster.target} up to revision {entry.revision}")
        )
        return None
    silence = entry.started_at - result.last.committed_at
    allowed = max(timedelta(seconds=15), config.interval * 5)
    if silence > allowed:
        rec.find(
            "canary_silent",
            Severity.CRITICAL,
            cluster.target,
            f"the last canary before the snapshot is {format_duration(silence)} older than it",
            f"start the agent: ccobs-ops etcd agent {cluster.name}",
        )
        rec.claim(
            unknown("exact", "nobody wrote canaries when the snapshot was taken, so a loss would not show")
        )
        return None
    rec.claim(
        passed(
            "exact", f"{result.present} of {result.expected} canaries present at their revisions, none later"
        )
    )
    return result


def prove_rpo(
    rec: Recorder,
    cluster: EtcdCluster,
    result: canaries.Comparison | None,
    *,
    reference: datetime,
    counts: bool,
) -> None:
    """Claim `rpo`: what would be lost at the moment `reference`; only measured where an older snapshot was asked for."""
    if result is None or result.last is None:
        if counts:
            rec.claim(unknown("rpo", "without canaries nothing tells what would be lost"))
        return
    lost = max(0.0, (reference - result.last.committed_at).total_seconds())
    rec.measurements["rpo_seconds"] = lost
    limit = cluster.config.objectives.rpo.total_seconds()
    told = f"{format_seconds(lost)} of writes would be lost, promised at most {format_seconds(limit)}"
    if counts:
        rec.claim(passed("rpo", told) if lost <= limit else failed("rpo", told))
    rec.details["recovered_to"] = rfc3339(result.last.committed_at)


def prove_writable(rec: Recorder, copy: Copy) -> None:
    """Claim `writable`: a key is written, read back and deleted."""
    try:
        before = copy.client.status().revision
        written = copy.client.put(_TRIAL_KEY, b"written")
        found = copy.client.range(_TRIAL_KEY).kvs
        copy.client.delete(_TRIAL_KEY)
    except OpsError as error:
        rec.find(
            "not_writable",
            Severity.CRITICAL,
            "copy",
            f"the copy takes no writes: {error.message}",
            error.hint,
        )
        rec.claim(failed("writable", f"the copy takes no writes: {error.message}"))
        return
    if written > before and found and found[0].value == b"written":
        rec.claim(passed("writable", f"a key was written at revision {written} and read back"))
    else:
        rec.claim(failed("writable", "a key that was written did not come back"))


def prove_isolated(rec: Recorder, copy: Copy) -> None:
    """Claim `isolated`: no member has an internet socket."""
    found = copy.listening()
    rec.claim(
        failed("isolated", f"the copy has internet sockets: {found[0]}")
        if found
        else passed("isolated", "the copy has unix sockets in a private folder only")
    )


def prove_quorum(ctx: Context, rec: Recorder, copy: Copy) -> None:
    """Claim `quorum`: of three members the leader is killed, and writes go on."""
    name = copy.lose_one()
    began = ctx.timer()
    last = "no answer"
    while ctx.timer() - began < FAILOVER_SECONDS:
        for client in copy.clients:
            try:
                client.put(_TRIAL_KEY, name.encode(), timeout=_TRY_SECONDS)
            except OpsError as error:
                last = error.message
                continue
            seconds = ctx.timer() - began
            rec.measurements["failover_seconds"] = seconds
            others = [each.range(_TRIAL_KEY).kvs for each in copy.clients]
            held = all(kvs and kvs[0].value == name.encode() for kvs in others)
            told = f"{name}, the leader, was killed; {len(others)} members took a write after {format_seconds(seconds)}"
            rec.claim(
                passed("quorum", told)
                if held
                else failed("quorum", "a member does not have what was written")
            )
            return
        ctx.sleep(0.1)
    rec.claim(
        failed("quorum", f"{name} was killed, and no write was taken within {FAILOVER_SECONDS:.0f} s: {last}")
    )


def prove_compacted(rec: Recorder, entry: Entry, copy: Copy, by: int) -> None:
    """Claim `compacted`: the revision was raised, and a watch from an old one is answered as compacted."""
    now = copy.client.status().revision
    watched = copy.client.watch_from(b"/", entry.revision)
    if now < entry.revision + by:
        rec.claim(failed("compacted", f"the revision is {now}, less than {entry.revision} + {by}"))
    elif watched.canceled and watched.compact_revision > entry.revision:
        told = f"revision {now}; a watch from {entry.revision} is told that it is compacted"
        rec.claim(passed("compacted", told))
    else:
        rec.claim(failed("compacted", f"a watch from the old revision {entry.revision} was accepted"))


def _count(client: EtcdClient, prefix: str, revision: int) -> int:
    key = prefix.encode()
    return client.range(key or b"\x00", after(key), revision=revision, count_only=True, local=True).count


class _Ranger:
    """What counting objects asks of a store, answered by one member's own data."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client

    def count(self, start: bytes, end: bytes, revision: int = 0) -> int:
        """How many keys there are in [start, end)."""
        return self._client.range(start, end, revision=revision, count_only=True, local=True).count

    def first_key(self, start: bytes, end: bytes, revision: int = 0) -> bytes | None:
        """The smallest key in [start, end)."""
        found = self._client.range(start, end, revision=revision, limit=1, keys_only=True, local=True).kvs
        return found[0].key if found else None
