"""Catalogue entries for tests of what is decided from them alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ccobs_ops.core.archive import Part
from ccobs_ops.core.etcd import layout as etcd_layout
from ccobs_ops.core.postgres.archive import Archive, Segment
from ccobs_ops.core.postgres.layout import Entry, manifest_key
from ccobs_ops.core.postgres.wal import segment_name
from ccobs_ops.core.storage import ObjectStore
from ccobs_ops.inventory import Store

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
SEGMENT = 16 * 1024 * 1024
ARCHIVE = Archive(ObjectStore(None, Store(bucket="backups"), "us"), "postgres/x/")


def entry(
    name: str,
    stopped_at: datetime,
    *,
    parent: str | None = None,
    segment: int = 2,
    timeline: int = 1,
    stop_xmax: int = 1000,
) -> Entry:
    """A backup that begins and ends in WAL segment `segment`."""
    return Entry(
        id=name,
        parent=parent,
        system_identifier="1",
        server_version="18.6",
        timeline=timeline,
        segment_size=SEGMENT,
        start_lsn=segment * SEGMENT + 0x28,
        stop_lsn=segment * SEGMENT + 0x120,
        started_at=stopped_at - timedelta(seconds=3),
        stopped_at=stopped_at,
        stop_xmax=stop_xmax,
        raw_bytes=1000,
        stored_bytes=100,
        manifest=Part(manifest_key(name), 1, 1, "0" * 32),
        parts=(),
    )


def at(hours: float) -> datetime:
    """So many hours after midnight."""
    return MIDNIGHT + timedelta(hours=hours)


def segments(numbers: range, timeline: int = 1) -> dict[str, Segment]:
    """Finished WAL segments of a listing, by name."""
    names = [segment_name(timeline, number, SEGMENT) for number in numbers]
    return {name: Segment(name, f"wal/{name}", "0" * 32) for name in names}


def snapshot(name: str, at: datetime) -> etcd_layout.Entry:
    """A snapshot of etcd, begun and ended `at` one moment."""
    return etcd_layout.Entry(
        id=name,
        cluster_id="1",
        member="m",
        etcd_version="3.5.1",
        revision=1,
        compact_revision=0,
        raft_term=1,
        raft_index=1,
        members=(),
        db_bytes=1,
        hash=None,
        hash_compact_revision=None,
        counts={},
        alarms=(),
        sha256="",
        started_at=at,
        stopped_at=at,
        raw_bytes=1,
        stored_bytes=1,
        parts=(),
    )
