"""What a suspect is, once it has been looked at again: a difference of one kind, or none any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ccobs_ops.core.replication import objects
from ccobs_ops.core.replication.difference import Difference, Kind, Seen
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.merge import Suspect
from ccobs_ops.core.replication.objects import Head
from ccobs_ops.core.replication.rules import excluded, untagged
from ccobs_ops.core.units import format_duration
from ccobs_ops.inventory_replication import ReplicationPair


@dataclass(frozen=True, slots=True)
class Explainer:
    """Looks at suspects of `pair` again and explains them. Raises UnknownError when a store does not answer."""

    pair: ReplicationPair
    source: Lister
    replica: Lister

    def look(self, suspect: Suspect) -> Difference | None:
        """Ask both sides for this one object; None when there is no difference any more."""
        return self.judge(
            suspect.key, objects.head(self.source, suspect.key), objects.head(self.replica, suspect.key)
        )

    def judge(self, key: str, source: Head, replica: Head) -> Difference | None:
        """What two answers mean."""
        if source.seen is None:
            return None if replica.seen is None else self._extra(key, source, replica.seen)
        if replica.seen is None:
            why = "it was deleted in the replica" if replica.deleted else "the replica does not have it"
            return self._lost(Kind.MISSING, key, source.seen, None, why, source.asked_at)
        if source.seen.bytes != replica.seen.bytes:
            why = f"{source.seen.bytes} bytes in the source, {replica.seen.bytes} in the replica"
            return self._differs(Kind.SIZE_MISMATCH, key, source, replica, why)
        same = objects.same_content(source, replica)
        if same is None:
            why = (
                "the ETags differ and are no digests of the content (multipart or encrypted), and no native "
                "checksum is on both sides"
            )
            return self._differs(Kind.UNVERIFIABLE, key, source, replica, why)
        if same:
            return None
        return self._differs(Kind.CONTENT_MISMATCH, key, source, replica, "the same size, other content")

    def lost(self, key: str, source: Seen, replica: Seen | None) -> Difference:
        """What two listings prove: an object that the replica lacks, or has in another size."""
        if replica is None:
            return self._lost(
                Kind.MISSING, key, source, None, "the replica does not have it", self.source.now()
            )
        why = f"{source.bytes} bytes in the source, {replica.bytes} in the replica"
        found = self._lost(Kind.SIZE_MISMATCH, key, source, replica, why, self.source.now())
        return self._stale(found)

    def _differs(self, kind: Kind, key: str, source: Head, replica: Head, why: str) -> Difference:
        assert source.seen is not None and replica.seen is not None
        return self._stale(self._lost(kind, key, source.seen, replica.seen, why, source.asked_at))

    def _stale(self, found: Difference) -> Difference:
        """The same difference, but for a replica that holds what is an older version in the source."""
        replica = found.replica
        if found.kind not in (Kind.SIZE_MISMATCH, Kind.CONTENT_MISMATCH) or replica is None:
            return found
        for older in objects.versions(self.source, found.key)[1:]:
            if not older.delete_marker and (older.bytes, older.etag) == (replica.bytes, replica.etag):
                why = f"the replica has the older version {older.version_id}"
                return Difference(Kind.STALE_VERSION, found.key, found.source, replica, why)
        return found

    def _lost(
        self, kind: Kind, key: str, source: Seen, replica: Seen | None, why: str, now: datetime
    ) -> Difference:
        rule = excluded(self.pair, key, source.storage_class or "STANDARD")
        if not rule and self.pair.rules.tags:
            rule = untagged(self.pair, objects.tags(self.source, key))
        if rule:
            return Difference(Kind.EXCLUDED_BY_RULE, key, source, replica, rule)
        if kind is not Kind.UNVERIFIABLE and (told := self.young(source.modified, now)):
            return Difference(Kind.PENDING, key, source, replica, told)
        return Difference(kind, key, source, replica, why)

    def young(self, modified: datetime | None, now: datetime) -> str:
        """Why it may still be on its way, "" when it may not. Both times are of one clock, the source's."""
        if modified is None or now - modified > self.pair.rpo:
            return ""
        age = max((now - modified).total_seconds(), 0.0)
        return f"written {age:.0f} s ago, within the RPO of {format_duration(self.pair.rpo)}"

    def _extra(self, key: str, source: Head, replica: Seen) -> Difference:
        if rule := excluded(self.pair, key, ""):
            return Difference(Kind.EXCLUDED_BY_RULE, key, None, replica, rule)
        newest = next(iter(objects.versions(self.source, key)), None)
        if newest is None or not newest.delete_marker:
            why = "the source does not have it, and tells of no deletion"
            return Difference(Kind.ONLY_IN_REPLICA, key, None, replica, why)
        if not self.pair.rules.delete_markers:
            why = "it was deleted in the source, and deletions are not replicated"
            return Difference(Kind.EXCLUDED_BY_RULE, key, newest, replica, why)
        if told := self.young(newest.modified, source.asked_at):
            return Difference(Kind.PENDING, key, newest, replica, told.replace("written", "deleted"))
        why = "it was deleted in the source and still is in the replica"
        return Difference(Kind.DELETE_MARKER_UNREPLICATED, key, newest, replica, why)
