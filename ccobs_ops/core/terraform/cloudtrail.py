"""Who changed it, and when: CloudTrail's `lookup_events`, where there is one.

CloudTrail shows an event some minutes after it happened and keeps it for 90 days; two lookups a second are allowed
(https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html). So what it does not know now
it may know at the next scan, and it is asked about a bounded number of changes, the worst first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.terraform.change import Change, DriftClass, ranked

LOOKUPS = 40
PAGES = 2
GAP_SECONDS = 0.5
_ASKED_BY = ("id", "name", "bucket", "identifier", "cluster_identifier", "key_id", "arn")
_NAMES_EACH = 2
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ENDS = ("Delete", "Remove", "Terminate", "Schedule", "Deregister")
_DULL = frozenset(
    {"aws", "db", "put", "modify", "update", "set", "create", "delete", "configuration", "the", "of"}
)


@dataclass(frozen=True, slots=True)
class Detection:
    """How long a change stood before it was seen, in seconds, and from which moment that was counted.

    `basis` is `change` (it is known when it happened) or `last_clean_scan`, which makes it an upper bound.
    """

    seconds: float
    basis: str


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    who: str
    when: datetime


def attribute(
    changes: Iterable[Change],
    client: Any,
    *,
    since: datetime,
    now: datetime,
    sleep: Callable[[float], None],
    timer: Callable[[], float],
) -> tuple[Change, ...]:
    """`changes` with `who` and `when` where `client` (boto3 `cloudtrail`) knows; what it cannot tell stays None.

    Looked at are successful calls between `since` and `now` that wrote something, to an object known by one of the change's
    names. Never raises for CloudTrail's sake: a trail that is away makes no scan UNKNOWN.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only where CloudTrail is asked

    given = tuple(changes)
    told: dict[int, _Event] = {}
    asked = 0
    last: float | None = None
    places = {id(change): position for position, change in enumerate(given)}
    for change in ranked(each for each in given if each.is_open):
        for name in _names(change):
            if asked >= LOOKUPS:
                break
            if last is not None and (wait := last + GAP_SECONDS - timer()) > 0:
                sleep(wait)
            last, asked = timer(), asked + 1
            try:
                events = _lookup(client, name, since, now, sleep)
            except (BotoCoreError, ClientError):
                return tuple(_with(change, told.get(index)) for index, change in enumerate(given))
            if (best := _best(events, change)) is not None:
                told[places[id(change)]] = best
                break
    return tuple(_with(change, told.get(index)) for index, change in enumerate(given))


def detection(change: Change, *, now: datetime, last_clean: datetime | None) -> Detection | None:
    """The time to detect `change`; None if neither its moment nor a clean scan before it is known."""
    if change.when is not None:
        return Detection(max(0.0, (now - change.when).total_seconds()), "change")
    if last_clean is None:
        return None
    return Detection(max(0.0, (now - last_clean).total_seconds()), "last_clean_scan")


def _names(change: Change) -> tuple[str, ...]:
    known = dict(change.identity)
    names = dict.fromkeys(known[key] for key in _ASKED_BY if known.get(key))
    return tuple(names)[:_NAMES_EACH]


def _lookup(
    client: Any, name: str, since: datetime, now: datetime, sleep: Callable[[float], None]
) -> list[_Event]:
    found: list[_Event] = []
    token: str | None = None
    for page in range(PAGES):
        if page:
            sleep(GAP_SECONDS)
        answer = client.lookup_events(
            LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": name}],
            StartTime=since,
            EndTime=now,
            MaxResults=50,
            **({"NextToken": token} if token else {}),
        )
        for row in answer.get("Events") or ():
            event = _event(row)
            if event is not None and since <= event.when <= now:
                found.append(event)
        token = answer.get("NextToken")
        if not token:
            break
    return found


def _event(row: Mapping[str, Any]) -> _Event | None:
    """An event that wrote something and succeeded; None for every other."""
    if str(row.get("ReadOnly", "false")).lower() == "true":
        return None
    try:
        detail = json.loads(row.get("CloudTrailEvent") or "{}")
    except ValueError:
        detail = {}
    if not isinstance(detail, dict) or detail.get("errorCode") or detail.get("readOnly") is True:
        return None
    when = row.get("EventTime")
    if not isinstance(when, datetime):
        return None
    identity = detail.get("userIdentity")
    identity = identity if isinstance(identity, dict) else {}
    who = identity.get("arn") or row.get("Username") or identity.get("invokedBy") or identity.get("userName")
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return _Event(str(row.get("EventName", "")), REDACT(str(who or "unknown")), when.astimezone(UTC))


def _best(events: list[_Event], change: Change) -> _Event | None:
    """The event that most looks like the change: by what its name has in common with it, then the newest."""
    wanted = {word.lower() for text in _texts(change) for word in re.split(r"[^A-Za-z]+", text)} - _DULL
    ends = change.drift_class is DriftClass.DELETED
    begins = change.drift_class is DriftClass.UNMANAGED

    def likeness(event: _Event) -> tuple[bool, int, datetime]:
        words = {word.lower() for word in _WORDS.findall(event.name)}
        fits = event.name.startswith(_ENDS) if ends else event.name.startswith("Create") if begins else True
        return fits, len(words & wanted), event.when

    fitting = [event for event in events if likeness(event)[0]]
    if not ends and not begins:
        fitting = [event for event in fitting if not event.name.startswith("Create")]
    return max(fitting, key=likeness, default=None)


def _texts(change: Change) -> Iterable[str]:
    yield change.type
    for each in change.attributes:
        yield each.path
    for impact in change.impacts:
        yield impact.attribute


def _with(change: Change, event: _Event | None) -> Change:
    return change if event is None else replace(change, who=event.who, when=event.when)
