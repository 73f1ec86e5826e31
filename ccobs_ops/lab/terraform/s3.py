"""The few S3 calls on buckets that the lab's Terraform provider makes, signed by hand.

Terraform starts a provider three times for one plan, and importing boto3 costs more than all that the provider does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime

SECONDS = 10.0
_EMPTY = hashlib.sha256(b"").hexdigest()


class S3Error(Exception):
    """The store refused: `code` as S3 names it, `status` of HTTP (0: it could not be reached)."""

    def __init__(self, status: int, code: str, what: str) -> None:
        super().__init__(f"{what}: {code} ({status})" if status else f"{what}: {code}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of one region."""

    host: str
    port: int
    region: str
    access_key: str
    secret_key: str
    name: str

    def create(self, *, locked: bool) -> None:
        """Create it; with `locked` objects in it can be retained."""
        self._call("PUT", "", headers={"x-amz-bucket-object-lock-enabled": "true"} if locked else {})

    def delete(self) -> None:
        """Delete it; it must be empty."""
        self._call("DELETE", "")

    def exists(self) -> bool:
        """Whether it is there."""
        try:
            self._call("HEAD", "")
        except S3Error as error:
            if error.status == 404:
                return False
            raise
        return True

    def versioning(self) -> bool:
        """Whether older versions are kept."""
        return _text(self._call("GET", "versioning"), "Status") == "Enabled"

    def set_versioning(self, on: bool) -> None:
        """Keep older versions, or no longer."""
        status = "Enabled" if on else "Suspended"
        self._call(
            "PUT",
            "versioning",
            f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>",
        )

    def retention_days(self) -> int | None:
        """For how many days an object cannot be deleted; None without such a rule."""
        try:
            days = _text(self._call("GET", "object-lock"), "Days")
        except S3Error as error:
            if error.status == 404:
                return None
            raise
        return int(days) if days else None

    def set_retention_days(self, days: int) -> None:
        """Retain new objects for `days` days."""
        self._call(
            "PUT",
            "object-lock",
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
            f"<Mode>GOVERNANCE</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
        )

    def tags(self) -> dict[str, str]:
        """Its tags."""
        try:
            root = self._call("GET", "tagging")
        except S3Error as error:
            if error.status == 404 and error.code == "NoSuchTagSet":
                return {}
            raise
        return {_text(each, "Key"): _text(each, "Value") for each in _all(root, "Tag")}

    def set_tags(self, tags: dict[str, str]) -> None:
        """Replace its tags."""
        if not tags:
            self._call("DELETE", "tagging")
            return
        rows = "".join(
            f"<Tag><Key>{_escape(k)}</Key><Value>{_escape(v)}</Value></Tag>" for k, v in tags.items()
        )
        self._call("PUT", "tagging", f"<Tagging><TagSet>{rows}</TagSet></Tagging>")

    def _call(
        self, method: str, query: str, body: str = "", headers: dict[str, str] | None = None
    ) -> ET.Element | None:
        data = body.encode()
        extra = dict(headers or {})
        if data:
            extra["content-md5"] = base64.b64encode(
                hashlib.md5(data, usedforsecurity=False).digest()
            ).decode()
        signed = self._sign(method, query, data, extra)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        try:
            connection.request(
                method, f"/{self.name}" + (f"?{query}=" if query else ""), body=data, headers=signed
            )
            answer = connection.getresponse()
            text = answer.read()
        except OSError as error:
            raise S3Error(0, str(error), f"{method} s3://{self.name} at {self.host}:{self.port}") from error
        finally:
            connection.close()
        root = _parse(text)
        if answer.status >= 300:
            raise S3Error(answer.status, _text(root, "Code") or "error", f"{method} {query} s3://{self.name}")
        return root

    def _sign(self, method: str, query: str, data: bytes, extra: dict[str, str]) -> dict[str, str]:
        """Signature version 4, as the AWS General Reference describes it."""
        now = datetime.now(UTC)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(data).hexdigest() if data else _EMPTY
        headers = {
            "host": f"{self.host}:{self.port}",
            "x-amz-content-sha256": digest,
            "x-amz-date": stamp,
            **extra,
        }
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join((method, f"/{self.name}", f"{query}=" if query else "", lines, names, digest))
        scope = f"{day}/{self.region}/s3/aws4_request"
        told = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, told.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers


def _parse(text: bytes) -> ET.Element | None:
    try:
        return ET.fromstring(text) if text else None
    except ET.ParseError:
        return None


def _all(root: ET.Element | None, name: str) -> list[ET.Element]:
    return [] if root is None else [each for each in root.iter() if each.tag.rpartition("}")[2] == name]


def _text(root: ET.Element | None, name: str) -> str:
    return next((each.text or "" for each in _all(root, name)), "")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
