"""Pages of one side of a pair, straight from S3: signed by botocore, fetched by http.client, tried again when they fail.

boto3 itself parses every row into a dictionary and lists 16,000 keys a second; here a page stays the bytes that came. What a
page costs is one signature (0.12 ms) and one request.
"""

from __future__ import annotations

import http.client
import os
import random
import ssl
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.exercise import Clock
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.page import Page
from ccobs_ops.core.replication.throttle import Throttle
from ccobs_ops.core.storage import client_of, session

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory, Store

PAGE_KEYS = 1000
_LONGEST_PAUSE = 5.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_SLOW = (b"SlowDown", b"TooManyRequests", b"RequestLimitExceeded", b"Throttl")


class Lister:
    """One side: `store` of the inventory below `prefix`. Thread-safe; each thread has a connection of its own.

    Raises UnknownError for whatever cannot be listed: a page is tried again for as long as the store's timeout twice over.
    """

    def __init__(
        self,
        inventory: Inventory,
        store: str,
        prefix: str,
        concurrency: int,
        *,
        clock: Clock,
        timer: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.store = store
        self.config: Store = inventory.stores[store]
        base = self.config.prefix.strip("/")
        self.base = f"{base}/" if base else ""
        self.prefix = prefix
        credentials = self.config.read_only or self.config.credentials
        self._session = session(self.config, credentials, inventory.path.parent)
        self.client: Any = client_of(self._session, self.config)
        self._once: Any = None
        self._making = threading.Lock()
        self.throttle = Throttle(concurrency, timer=timer)
        self.order = Order.BYTES
        self.requests = self.retries = 0
        self.clock_offset: float | None = None
        self._clock, self._timer, self._sleep = clock, timer, sleep
        self._local = threading.local()
        self._random = random.Random()
        self._signer, self._url = self._sign_with()
        self._patience = max(2 * self.config.timeout.total_seconds(), 10.0)

    @property
    def where(self) -> str:
        """`s3://bucket/prefix`, for messages."""
        return f"s3://{self.config.bucket}/{self.base}{self.prefix}"

    def full(self, key: str) -> str:
        """The key as S3 knows it."""
        return self.base + key

    def first(self) -> Page:
        """The first page, which also tells the store's clock and the order that it lists in."""
        return self.page(None)

    def page(self, after: bytes | None, *, limit: int = PAGE_KEYS) -> Page:
        """The keys below the prefix that follow `after` (below the store's prefix), at most `limit`."""
        query: dict[str, str | bytes] = {
            "encoding-type": "url",
            "list-type": "2",
            "max-keys": str(limit),
        }
        if self.base or self.prefix:
            query["prefix"] = self.base + self.prefix
        if after is not None:
            query["start-after"] = self.base.encode() + after
        return Page.of(self.ask(query), len(self.base.encode()), self.where)

    def versions(self, after: tuple[str, str] | None, *, key: str | None = None) -> bytes:
        """A page of ListObjectVersions after a key and version as S3 gives them, below the prefix or of one key."""
        query: dict[str, str | bytes] = {"encoding-type": "url", "max-keys": str(PAGE_KEYS), "versions": ""}
        query["prefix"] = self.base + (self.prefix if key is None else key)
        if after is not None:
            query["key-marker"] = after[0]
            if after[1]:
                query["version-id-marker"] = after[1]
        return self.ask(query)

    def folders(self, parent: bytes, after: bytes) -> tuple[list[bytes], bool]:
        """The folders directly below `parent` that follow `after`, of one page, and whether there are more."""
        from xml.etree import ElementTree  # noqa: PLC0415

        root = self.base.encode()
        query: dict[str, str | bytes] = {
            "delimiter": "/",
            "list-type": "2",
            "max-keys": str(PAGE_KEYS),
            "prefix": root + parent,
            "start-after": root + after,
        }
        try:
            tree = ElementTree.fromstring(self.ask(query))
        except (
            ElementTree.ParseError
        ):  # a name with control characters; it is only asked to find where to cut
            return [], False
        space = tree.tag[: -len("ListBucketResult")]
        found = [
            (each.findtext(f"{space}Prefix") or "").encode()[len(root) :]
            for each in tree.iter(f"{space}CommonPrefixes")
        ]
        return found, tree.findtext(f"{space}IsTruncated") == "true"

    def ask(self, query: dict[str, str | bytes]) -> bytes:
        """The answer to one list request, tried again while that can help."""
        text = "&".join(
            f"{name}={quote(value if isinstance(value, bytes) else value.encode(), safe='-_.~')}"
            for name, value in sorted(query.items())
        )
        began, attempt = self._timer(), 0
        while True:
            attempt += 1
            try:
                with self.throttle.slot():
                    status, body = self._request(text)
            except (OSError, http.client.HTTPException, ssl.SSLError) as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            else:
                if status == 200:
                    self.throttle.answered()
                    return body
                problem = self._refused(status, body)
            self.retries += 1
            if attempt >= self.config.attempts and self._timer() - began >= self._patience_left(attempt):
                raise UnknownError(
                    f"{self.where} (store {self.store!r}) could not be listed: {problem}, {attempt} times",
                    hint="see whether the store's endpoint answers from this host; then repeat with --resume",
                )
            self._pause(attempt)

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """What the boto3 method `operation` answers about an object: asked again as often as the store's `attempts`, and
        while the store asks to slow down for as long as for a page. Raises what boto3 raises.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        ask = getattr(self._asked_once(), operation)
        began, attempt = self._timer(), 0
        while True:
            attempt += 1
            slow = False
            try:
                with self.throttle.slot():
                    answer = ask(**request)
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                code = str(error.response.get("Error", {}).get("Code", "")).encode()
                slow = status in (429, 503) or any(word in code for word in _SLOW)
                if slow:
                    self.throttle.slow_down()
                waited = not slow or self._timer() - began >= self._patience
                if not (slow or status in _TRANSIENT) or (attempt >= self.config.attempts and waited):
                    raise
            except BotoCoreError:
                if attempt >= self.config.attempts:
                    raise
            else:
                self.throttle.answered()
                return answer
            self.retries += 1
            self._pause(attempt)

    def _asked_once(self) -> Any:
        """A client that does not repeat by itself: what it would hide is what `throttle` counts."""
        with self._making:
            if self._once is None:
                self._once = client_of(self._session, self.config.model_copy(update={"attempts": 1}))
            return self._once

    def _pause(self, attempt: int) -> None:
        self._sleep(min(0.1 * 2 ** (attempt - 1), _LONGEST_PAUSE) * (0.5 + self._random.random()))

    def _patience_left(self, attempt: int) -> float:
        """Once a store has answered it is given longer to come back than one that never did."""
        return self._patience if self.requests else 0.0

    def _refused(self, status: int, body: bytes) -> str:
        """What a failed answer means; raises at once where repeating it cannot help."""
        code = body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode(errors="replace") or str(status)
        if status in (429, 503) or any(word in body for word in _SLOW):
            self.throttle.slow_down()
            return f"{code} {status}"
        if status in _TRANSIENT:
            return f"{code} {status}"
        hint = "check the bucket, the region and the credentials that the inventory names"
        raise UnknownError(
            f"{self.where} (store {self.store!r}) could not be listed: {code} ({status})", hint=hint
        )

    def _request(self, query: str) -> tuple[int, bytes]:
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest("GET", f"{self._url}?{query}", headers={"Accept-Encoding": "identity"})
        if self._signer is not None:
            self._signer.add_auth(request)
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        try:
            path = urlsplit(self._url).path or "/"
            connection.request("GET", f"{path}?{query}", headers=dict(request.headers.items()))
            answer = connection.getresponse()
            body = answer.read()
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
        if answer.status == 200:
            if not self.requests:
                self.order = Order.served_by(answer.getheader("Server", ""))
            self.requests += 1
            if self.clock_offset is None:
                self._read_clock(answer.getheader("Date", ""))
        return answer.status, body

    def _read_clock(self, date: str) -> None:
        """How far the store's clock is ahead of ours, in seconds; a Date header has whole seconds only."""
        try:
            told = parsedate_to_datetime(date)
        except (TypeError, ValueError):
            return
        self.clock_offset = (told - self._clock()).total_seconds() + 0.5

    def here(self) -> datetime:
        """The present moment by this host's clock."""
        return self._clock()

    def now(self) -> datetime:
        """The present moment by the store's own clock, as far as it was seen."""
        return self._clock() + timedelta(seconds=self.clock_offset or 0.0)

    def _connect(self) -> http.client.HTTPConnection:
        url = urlsplit(self._url)
        seconds = self.config.timeout.total_seconds()
        host, port = url.hostname or "", url.port
        if url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=seconds)
        context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
        if not proxy:
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        connection = http.client.HTTPSConnection(
            through.hostname or "", through.port or 8080, timeout=seconds, context=context
        )
        connection.set_tunnel(host, port or 443)
        return connection

    def _sign_with(self) -> tuple[Any, str]:
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                raise UnknownError(
                    f"store {self.store!r} could not be listed: no credentials were found",
                    hint="name them under the store's `credentials`",
                )
            signed = self.client.generate_presigned_url(
                "list_objects_v2", Params={"Bucket": self.config.bucket}
            )
        except BotoCoreError as error:
            raise UnknownError(f"store {self.store!r} could not be listed: {error}") from error
        return S3SigV4Auth(credentials, "s3", self.config.region), signed.partition("?")[0]
