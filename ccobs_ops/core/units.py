"""Durations, sizes and moments as people write them: `15m`, `1h30m`, `64MiB`, `2026-11-23T02:14:07Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_BYTES = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGTP", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?i?B?)")


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a timedelta; units ms, s, m, h, d, w, largest first. Raises ValueError with an example."""
    compact = text.strip().replace(" ", "")
    parts = _DURATION.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is no duration; write for example 30s, 15m, 1h30m or 30d")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def format_duration(span: timedelta) -> str:
    """`span` as `parse_duration` reads it: `1h30m`, `5s`, `250ms`."""
    rest = round(span.total_seconds() * 1000)
    text = ""
    for unit, milliseconds in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, milliseconds)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_size(text: str) -> int:
    """`64MiB` as bytes; KB, MB, … are powers of 1000 and KiB, MiB, … of 1024. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"{text!r} is no size; write for example 512KiB, 64MiB or 2GB")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_moment(text: str) -> datetime:
    """An ISO 8601 moment with a UTC offset or `Z`, as UTC.

    A moment without an offset is refused rather than guessed: at 3 a.m. an hour of error is an hour of data.
    Raises ValueError.
    """
    cleaned = text.strip()
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no moment; write for example 2026-11-23T02:14:07Z or 2026-11-23 03:14:07+01:00"
        ) from error
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; append Z for UTC or an offset such as +01:00")
    return moment.astimezone(UTC)


def format_seconds(seconds: float) -> str:
    """Seconds for people: `0.42 s`, `12.3 s`, `4m 07s`, `30m`, `3h 12m`, `31d 4h`."""
    if seconds < 0:
        return "-" + format_seconds(-seconds)
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        large, small = (whole // 60, "m"), (whole % 60, "s")
    elif whole < 172800:
        large, small = (whole // 3600, "h"), (whole % 3600 // 60, "m")
    else:
        return f"{whole // 86400}d {whole % 86400 // 3600}h"
    return f"{large[0]}{large[1]}" + (f" {small[0]:02d}{small[1]}" if small[0] else "")


def format_bytes(count: float) -> str:
    """Bytes for people, in powers of 1024: `812 B`, `3.4 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1023.95:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} PiB"
