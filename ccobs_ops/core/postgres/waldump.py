"""What commits a stretch of WAL holds, read by PostgreSQL's own pg_waldump."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.postgres.archive import Archive, Segment
from ccobs_ops.core.postgres.server import Tools
from ccobs_ops.core.postgres.wal import parse_lsn, segment_timeline
from ccobs_ops.core.process import run
from ccobs_ops.core.scratch import scratch

_COMMIT = re.compile(
    r"tx:\s+(?P<xid>\d+), lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+),.*desc: (?P<what>COMMIT|COMMIT_PREPARED|ABORT) "
    r"(?:[^;]*?)(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC"
)
_DEADLINE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit record: where it begins, its transaction (32-bit id), its time (aware UTC) and timeline."""

    lsn: int
    xid: int
    at: datetime
    timeline: int


def commits_in(tools: Tools, folder: Path, name: str) -> list[Commit]:
    """Every commit record that begins in segment `name`, whose file lies in `folder`, in WAL order.

    A segment may end in the middle of being written, or with a record that goes on in the next: both end the list.
    """
    answer = run(
        [tools["pg_waldump"], "--rmgr=Transaction", f"--path={folder}", name, name],
        deadline=_DEADLINE_SECONDS,
        ok=(0, 1),
    )
    found = [
        Commit(
            parse_lsn(match["lsn"]),
            int(match["xid"]),
            datetime.fromisoformat(match["time"]).replace(tzinfo=UTC),
            segment_timeline(name),
        )
        for line in answer.stdout.splitlines()
        if (match := _COMMIT.search(line)) and match["what"] != "ABORT"
    ]
    if (
        not found
        and answer.returncode
        and "could not find a valid record" not in answer.tail
        and not answer.stdout
    ):
        known = (
            "invalid record length",
            "invalid magic number",
            "unexpected pageaddr",
            "contrecord",
            "out-of-sequence",
        )
        if not any(word in answer.tail for word in known):
            raise DamagedError(
                f"segment {name} cannot be read by pg_waldump: {answer.tail}",
                code="wal_corrupt",
                subject=name,
            )
    return found


def commits_of(archive: Archive, tools: Tools, segment: Segment, size: int) -> list[Commit]:
    """Every commit that begins in an archived segment of `size` bytes."""
    with scratch("waldump") as folder:
        data = archive.read(segment.key, md5=segment.md5, limit=size)
        with (folder / segment.name).open("wb") as file:
            file.write(data)
            file.truncate(size)
        return commits_in(tools, folder, segment.name)
