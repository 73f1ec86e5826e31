"""Compare every version and delete marker of every key: `rules.versions: all`.

A version keeps its id when it is replicated, so versions are matched by id; `null` is the one of a bucket without versioning.
Keys are merged one by one in constant memory, in one pass: this is for buckets of which every version matters, and slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.difference import Difference, Kind, Seen
from ccobs_ops.core.replication.explain import Explainer
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.rules import excluded

Group = tuple[str, list[Seen]]
"""A key and its versions and delete markers, newest first."""


@dataclass(slots=True)
class VersionComparison:
    """Both sides' versions, merged. Counts what each side showed, and the keys that agreed when they were looked at again."""

    explainer: Explainer
    order: Order
    source_objects: int = 0
    replica_objects: int = 0
    resolved: int = 0

    def differences(self) -> Iterator[Difference]:
        """Every difference that is still one when its key is listed again, in key order."""
        ours, theirs = groups(self.explainer.source), groups(self.explainer.replica)
        one, two = next(ours, None), next(theirs, None)
        while one is not None or two is not None:
            first, second = (self._position(each) for each in (one, two))
            source = one[1] if one is not None and first <= second else []
            replica = two[1] if two is not None and second <= first else []
            key = one[0] if one is not None and source else two[0] if two is not None else ""
            self.source_objects += len(source)
            self.replica_objects += len(replica)
            if not _same(source, replica):
                yield from self._again(key)
            if source:
                one = _next(ours, one, self.order, self.explainer.source)
            if replica:
                two = _next(theirs, two, self.order, self.explainer.replica)

    def _position(self, group: Group | None) -> tuple[bool, bytes]:
        return (group is None, b"" if group is None else _position(group[0], self.order))

    def _again(self, key: str) -> Iterator[Difference]:
        source, replica = (of_key(side, key) for side in (self.explainer.source, self.explainer.replica))
        found = list(explain(self.explainer, key, source, replica))
        self.resolved += not found
        yield from found


def explain(explainer: Explainer, key: str, source: list[Seen], replica: list[Seen]) -> Iterator[Difference]:
    """What differs between the versions of one key, newest first."""
    theirs = {each.version_id: each for each in replica}
    known = {each.version_id for each in source}
    for position, version in enumerate(source):
        twin = theirs.get(version.version_id)
        if twin is None:
            yield _lost(explainer, key, version, newest=position == 0, replica=replica)
        elif (twin.bytes, twin.delete_marker) != (version.bytes, version.delete_marker):
            why = f"{version.bytes} bytes in the source, {twin.bytes} in the replica"
            yield Difference(Kind.SIZE_MISMATCH, key, version, twin, why, version.version_id)
        elif twin.etag != version.etag:
            sound = len(twin.etag) == len(version.etag) == 32
            kind = Kind.CONTENT_MISMATCH if sound else Kind.UNVERIFIABLE
            yield Difference(kind, key, version, twin, "the ETags differ", version.version_id)
    for version in replica:
        if version.version_id not in known:
            rule = excluded(explainer.pair, key, version.storage_class)
            kind = Kind.EXCLUDED_BY_RULE if rule else Kind.ONLY_IN_REPLICA
            why = rule or "the source has no such version"
            yield Difference(kind, key, None, version, why, version.version_id)
    if source and replica and known == theirs.keys() and source[0].version_id != replica[0].version_id:
        why = f"both have the same versions, but {replica[0].version_id} is current in the replica"
        yield Difference(Kind.STALE_VERSION, key, source[0], replica[0], why, source[0].version_id)


def _lost(explainer: Explainer, key: str, version: Seen, *, newest: bool, replica: list[Seen]) -> Difference:
    pair = explainer.pair
    kind, why = Kind.MISSING, "the replica does not have this version"
    if version.delete_marker:
        kind, why = Kind.DELETE_MARKER_UNREPLICATED, "the replica does not have this delete marker"
    elif newest and replica and not replica[0].delete_marker:
        kind, why = Kind.STALE_VERSION, f"the replica's current version is {replica[0].version_id}"
    rule = excluded(pair, key, version.storage_class or "STANDARD")
    if not rule and version.delete_marker and not pair.rules.delete_markers:
        rule = "delete markers are not replicated"
    if rule:
        kind, why = Kind.EXCLUDED_BY_RULE, rule
    elif told := explainer.young(version.modified, explainer.source.now()):
        kind, why = Kind.PENDING, told
    return Difference(kind, key, version, replica[0] if replica else None, why, version.version_id)


def of_key(side: Lister, key: str) -> list[Seen]:
    """All versions of one key, newest first."""
    found: dict[str, list[Seen]] = {}
    after: tuple[str, str] | None = None
    while True:
        page, after = _read(side, after, key)
        for name, version in page:
            found.setdefault(name, []).append(version)
        if after is None or unquote_plus(after[0]) != side.full(key):
            return _newest_first(found.get(key, []))


def groups(side: Lister) -> Iterator[Group]:
    """Every key below the side's prefix with its versions, in the side's order."""
    held: dict[str, list[Seen]] = {}
    after: tuple[str, str] | None = None
    while True:
        page, after = _read(side, after, None)
        for name, version in page:
            held.setdefault(name, []).append(version)
        last = after[0].removeprefix(side.base) if after is not None else None
        for name in sorted(held, key=lambda each: _position(each, side.order)):
            if name != last:  # the last key's versions may go on on the next page
                yield name, _newest_first(held.pop(name))
        if after is None:
            return


_LATEST = "latest"


def _read(
    side: Lister, after: tuple[str, str] | None, key: str | None
) -> tuple[list[tuple[str, Seen]], tuple[str, str] | None]:
    """One page: versions with their keys, and what to go on after."""
    body = side.versions(after, key=key)
    try:
        tree = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise UnknownError(f"the versions of {side.where} cannot be read: {error}") from error
    space = tree.tag[: -len("ListVersionsResult")]
    encoded = tree.findtext(f"{space}EncodingType") == "url"
    found: list[tuple[str, Seen]] = []
    for row in tree:
        marker = row.tag == f"{space}DeleteMarker"
        if not marker and row.tag != f"{space}Version":
            continue
        text = {name: row.findtext(f"{space}{name}") or "" for name in _FIELDS}
        name = unquote_plus(text["Key"]) if encoded else text["Key"]
        modified = datetime.fromisoformat(text["LastModified"])
        storage = text["StorageClass"] + (_LATEST if text["IsLatest"] == "true" else "")
        seen = Seen(
            int(text["Size"] or 0), text["ETag"].strip('"'), modified, text["VersionId"], storage, marker
        )
        found.append((name.removeprefix(side.base), seen))
    if tree.findtext(f"{space}IsTruncated") != "true":
        return found, None
    following = (
        tree.findtext(f"{space}NextKeyMarker") or "",
        tree.findtext(f"{space}NextVersionIdMarker") or "",
    )
    if encoded:
        following = (unquote_plus(following[0]), following[1])
    if following == after or not following[0]:
        raise UnknownError(f"the versions of {side.where} do not go on after {following[0]!r}")
    return found, following


_FIELDS = ("Key", "VersionId", "IsLatest", "LastModified", "ETag", "Size", "StorageClass")


def _newest_first(found: list[Seen]) -> list[Seen]:
    ordered = sorted(
        found, key=lambda each: (each.storage_class.endswith(_LATEST), each.modified), reverse=True
    )
    return [
        Seen(
            each.bytes,
            each.etag,
            each.modified,
            each.version_id,
            each.storage_class.removesuffix(_LATEST),
            each.delete_marker,
        )
        for each in ordered
    ]


def _same(source: list[Seen], replica: list[Seen]) -> bool:
    def facts(versions: list[Seen]) -> list[tuple[str, int, str, bool]]:
        return [(each.version_id, each.bytes, each.etag, each.delete_marker) for each in versions]

    return facts(source) == facts(replica)


def _position(key: str, order: Order) -> bytes:
    return order.of(key.encode(errors="surrogateescape"))


def _next(stream: Iterator[Group], before: Group | None, order: Order, side: Lister) -> Group | None:
    """The next group. Raises UnknownError when the listing is not in order."""
    found = next(stream, None)
    if found and before and _position(found[0], order) <= _position(before[0], order):
        raise UnknownError(f"the versions of {side.where} are not listed in {order} order")
    return found
