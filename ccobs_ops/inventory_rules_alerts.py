"""What must hold between the keys of `alerts` in the inventory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_alerts import Channel
from ccobs_ops.inventory_problems import Key, Violation, did_you_mean

_OWN = ("ccobs/", "drill/")
_LOGIN = re.compile(r"https?://[^/]*@", re.IGNORECASE)


def alerts_violations(inventory: Inventory) -> Iterator[Violation]:
    """Everything about the alerts of `inventory` that contradicts itself."""
    alerts = inventory.alerts
    for name, channel in alerts.channels.items():
        yield from _channel(("alerts", "channels", name), channel)
    known = list(alerts.channels)
    targets = _targets(inventory)
    for position, route in enumerate(alerts.routes):
        key: Key = ("alerts", "routes", position)
        yield from _exist((*key, "channels"), route.channels, known)
        for pattern in route.targets:
            if not pattern.startswith(_OWN) and not any(fnmatchcase(each, pattern) for each in targets):
                yield Violation(
                    (*key, "targets"),
                    f"no target of this inventory fits {pattern!r}",
                    did_you_mean(pattern, targets) or f"targets: {', '.join(targets) or 'none'}",
                    (
                        (*key, "targets"),
                        *((noun,) for noun in ("postgres", "etcd", "replication", "terraform")),
                    ),
                )
    if alerts.escalation is not None:
        yield from _exist(("alerts", "escalation", "channels"), alerts.escalation.channels, known)
    if alerts.quiet_hours is not None and alerts.quiet_hours.start == alerts.quiet_hours.end:
        where: Key = ("alerts", "quiet_hours")
        yield Violation(
            (*where, "end"), "the quiet hours end when they start", "name two different times", (where,)
        )


def _channel(key: Key, channel: Channel) -> Iterator[Violation]:
    about = (key,)
    if (channel.apprise is None) == (not channel.alertmanager):
        told = "neither `apprise` nor `alertmanager`" if channel.apprise is None else "both kinds of address"
        yield Violation(
            key, f"the channel has {told}", "name one: an apprise URL by reference, or Alertmanagers", about
        )
    if (channel.username is None) != (channel.password is None):
        given, other = ("username", "password") if channel.username else ("password", "username")
        yield Violation((*key, given), f"a {given} without a {other}", f"add `{other}:`", about)
    elif channel.username is not None and channel.apprise is not None:
        yield Violation(
            (*key, "username"), "an apprise URL has its own login", "put it into the URL that is named", about
        )
    if any(_LOGIN.match(address) for address in channel.alertmanager):
        yield Violation(
            (*key, "alertmanager"),
            "a login is written down in the address",
            "take it out, and name it as `username` and `password: file:PATH`; change it if others saw it",
            about,
        )
    if channel.alertmanager and channel.expires < 3 * channel.repeat:
        yield Violation(
            (*key, "expires"),
            "an alert would expire before it was sent again twice: it would resolve by itself",
            "raise `expires`, or lower `repeat`",
            about,
        )


def _exist(key: Key, names: Sequence[str], known: list[str]) -> Iterator[Violation]:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"known channels: {', '.join(known) or 'none'}"
            yield Violation(key, f"there is no channel {name!r}", hint, (key, ("alerts", "channels")))


def _targets(inventory: Inventory) -> list[str]:
    return [
        f"{noun}/{name}"
        for noun in ("postgres", "etcd", "replication", "terraform")
        for name in getattr(inventory, noun)
    ]
