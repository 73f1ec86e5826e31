"""Hand a message to a channel: by apprise, or to every Alertmanager of a cluster by its API v2."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ccobs_ops.core.alerts.model import Kind, Message
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Severity, rfc3339
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.secrets import resolve
from ccobs_ops.inventory_alerts import Channel

T = TypeVar("T")
GRACE_SECONDS = 5.0
_ANSWER_BYTES = 4096
_HEARTBEAT_LASTS = timedelta(hours=26)
_TEST_LASTS = timedelta(minutes=5)


class DeliveryError(OpsError):
    """A receiver did not take a message. `never` where it will not take this one later either."""

    def __init__(self, message: str, *, hint: str = "", never: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.never = never


class Sender(Protocol):
    """Hands messages to one channel. Raises DeliveryError or SecretError, UnknownError when no answer came in time."""

    def send(self, message: Message, number: int, now: datetime) -> None:
        """Hand over `message`, whose number in the outbox is `number`."""
        ...


def sender(name: str, channel: Channel, *, base: Path) -> Sender:
    """What sends over `channel`; secrets are read from the folder `base` when it sends."""
    if channel.alertmanager:
        return Alertmanager(name, channel, base=base)
    return Apprise(name, channel, base=base)


class Apprise:
    """One apprise URL. It is imported when the first message is sent: it is large."""

    def __init__(self, name: str, channel: Channel, *, base: Path) -> None:
        self._name = name
        self._channel = channel
        self._base = base

    def send(self, message: Message, number: int, now: datetime) -> None:
        """Hand over `message`. Receivers that know of incidents (PagerDuty) get its key, webhooks key, kind and number."""
        del now
        # before a thread is started: an error that only names the reference is told as it is
        url = resolve(self._channel.apprise or "", base=self._base)
        seconds = self._channel.timeout.total_seconds()
        within(lambda: self._notify(url, message, number), 2 * seconds + GRACE_SECONDS, self._name)

    def _notify(self, url: str, message: Message, number: int) -> None:
        import apprise  # noqa: PLC0415 - takes a fifth of a second, and is only needed here
        from apprise.common import NotifyType  # noqa: PLC0415

        with _heard() as heard:
            plugin: Any = apprise.Apprise.instantiate(url)
            if not isinstance(plugin, apprise.NotifyBase):
                raise DeliveryError(
                    f"the channel {self._name} names no apprise URL: {_told(heard)}",
                    hint="see https://appriseit.com/services/ for how a URL of each service is written",
                )
            seconds = self._channel.timeout.total_seconds()
            plugin.socket_connect_timeout = plugin.socket_read_timeout = seconds
            _identify(plugin, message, number)
            kind = NotifyType.SUCCESS if message.kind is Kind.RESOLVED else _TYPES[message.severity]
            footer = f"key: {message.key} (message {number})"
            taken = plugin.notify(
                title=message.title, body=f"{message.body}\n{footer}", notify_type=NotifyType(kind)
            )
        if not taken:
            raise DeliveryError(
                f"the channel {self._name} did not take a message: {_told(heard)}",
                hint=f"try it with: ccobs-ops alerts test {self._name}",
            )


_TYPES = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


def _identify(plugin: Any, message: Message, number: int) -> None:
    if type(plugin).__name__ == "NotifyPagerDuty":
        plugin.dedup, plugin.action = message.key, "map"
    extras = getattr(plugin, "payload_extras", None)
    if isinstance(extras, dict):
        mine = {"key": message.key, "kind": message.kind.value, "severity": message.severity.value}
        extras.update({name: value for name, value in mine.items() if name not in extras})
        extras.setdefault("number", str(number))


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What apprise logs in this thread; it answers with yes or no alone."""
    lines: list[str] = []
    thread = threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                lines.append(record.getMessage())

    listener = Listener(level=logging.WARNING)
    logger = logging.getLogger("apprise")
    logger.addHandler(listener)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)


def _told(heard: Sequence[str]) -> str:
    return REDACT(" ".join(" ".join(heard).split()))[:300].rstrip(".") or "it gave no reason"


class Alertmanager:
    """All Alertmanagers of one cluster, by POST /api/v2/alerts. One that takes it is enough: they tell each other."""

    def __init__(self, name: str, channel: Channel, *, base: Path) -> None:
        self._name = name
        self._channel = channel
        self._base = base

    def send(self, message: Message, number: int, now: datetime) -> None:
        """Hand over `message`: firing until it expires, or ended now."""
        del number
        self.post(
            [*([_ended(message, now)] if message.ended else []), alert(message, now, self._lasts(message))]
        )

    def post(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Hand over `alerts` to every address. Raises DeliveryError if none took them, UnknownError if none answered."""
        headers = {"Content-Type": "application/json", "User-Agent": "ccobs-ops"}
        if self._channel.username is not None and self._channel.password is not None:
            login = f"{self._channel.username}:{resolve(self._channel.password, base=self._base)}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        body = json.dumps(list(alerts)).encode()
        errors: list[OpsError] = []
        seconds = self._channel.timeout.total_seconds()
        for address in self._channel.alertmanager:
            try:
                within(
                    lambda address=address: _post(address, body, headers, seconds),
                    seconds + GRACE_SECONDS,
                    self._name,
                )
            except OpsError as error:
                errors.append(error)
        if len(errors) == len(self._channel.alertmanager):
            raise next((each for each in errors if not isinstance(each, UnknownError)), errors[0])

    def _lasts(self, message: Message) -> timedelta:
        lasts = {Kind.HEARTBEAT: _HEARTBEAT_LASTS, Kind.TEST: _TEST_LASTS}
        return lasts.get(message.kind, self._channel.expires)


def alert(message: Message, now: datetime, lasts: timedelta) -> dict[str, Any]:
    """`message` as Alertmanager's API v2 has it; it ends by itself `lasts` after `now` unless it is sent again."""
    starts = min(message.starts_at or message.at, now)
    ends = now if message.kind is Kind.RESOLVED else now + lasts
    return {
        "labels": message.labels,
        "annotations": {name: value for name, value in message.annotations.items() if value},
        "startsAt": rfc3339(starts),
        "endsAt": rfc3339(ends),
        "generatorURL": message.link,
    }


def _ended(message: Message, now: datetime) -> dict[str, Any]:
    starts = min(message.starts_at or message.at, now)
    return {"labels": message.ended, "startsAt": rfc3339(starts), "endsAt": rfc3339(now)}


def _post(address: str, body: bytes, headers: dict[str, str], seconds: float) -> None:
    where = f"{address}/api/v2/alerts"
    request = urllib.request.Request(where, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            answer.read(_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        told = REDACT(error.read(_ANSWER_BYTES).decode(errors="replace").strip())[:200]
        hints = {
            401: "see `username` and `password` of the channel",
            404: "see whether this is an Alertmanager, 0.16 or later",
        }
        raise DeliveryError(
            f"alertmanager {address} answered {error.code}: {told or error.reason}",
            hint=hints.get(error.code, "see its log"),
            never=error.code in (400, 413, 422),
        ) from None
    except TimeoutError:
        raise _silent(f"alertmanager {address}", seconds) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise _silent(f"alertmanager {address}", seconds) from None
        raise DeliveryError(
            f"alertmanager {address} is not reached: {REDACT(str(reason))}", hint="see whether it runs"
        ) from None
    except ValueError as error:
        raise DeliveryError(f"alertmanager {address}: {REDACT(str(error))}", hint="see its address") from None


def _silent(who: str, seconds: float) -> UnknownError:
    return UnknownError(
        f"{who} gave no answer within {seconds:g} s: whether it took the message is not known",
        hint="it is sent again; receivers tell by its key",
    )


def within(call: Callable[[], T], seconds: float, who: str) -> T:
    """What `call` returns, or UnknownError after `seconds`: a receiver that sends a byte a second holds up nobody."""
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True, name=f"alert-{who}")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise _silent(f"the channel {who}", seconds)
    if failure:
        error = failure[0]
        if isinstance(error, OpsError):
            raise error
        raise DeliveryError(
            f"the channel {who} failed: {REDACT(repr(error))[:300]}", hint="see its URL"
        ) from error
    return result[0]
