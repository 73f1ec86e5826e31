"""What Terraform complains about, as data: from its JSON lines, or from the boxes that it draws on standard error."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.terraform.change import Unread

_LONGEST = 600
_NOISE = re.compile(r",? ?\b(?:RequestID|HostID): ?[\w+/=-]*(?=,|$)")
_BOX = re.compile(r"^[\s│╷╵|]*")

_KINDS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "state_locked",
        re.compile(r"acquiring the state lock|state lock|lock is held|ConditionalCheckFailed", re.IGNORECASE),
        "see who holds it; once nobody does: terraform force-unlock ID",
    ),
    (
        "not_initialized",
        re.compile(
            r"initialization required|module not installed|missing required provider|required plugins are not"
            r"|inconsistent dependency lock|please run .terraform init|terraform init.? to|not been initialized",
            re.IGNORECASE,
        ),
        "look whether `terraform init` works in the root's folder",
    ),
    (
        "credentials_refused",
        re.compile(
            r"ExpiredToken|InvalidClientTokenId|SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|UnauthorizedOperation"
            r"|no valid credential|security token|StatusCode: 40[13]|api error Forbidden|credentials are not accepted",
            re.IGNORECASE,
        ),
        "renew the credentials that the root's `environment` names, and see what they may read",
    ),
    (
        "state_unreadable",
        re.compile(
            r"loading state|load state|read(?:ing)? (?:remote )?state|state snapshot|state file|statefile|state data in s3"
            r"|unsupported state|refresh(?:ing)? state(?: |:)|unexpected end of JSON|invalid character .* looking for",
            re.IGNORECASE,
        ),
        "bring an older version of the state object back (the bucket's versioning has them), then scan again",
    ),
    (
        "provider_failed",
        re.compile(
            r"plugin (?:crashed|did not respond|exited)|plugin encountered an error|failed to respond|rpc error"
            r"|connection is shutting down|plugin process|error reading from server|dial unix|while dialing"
            r"|transport is closing|\bEOF\b|Unrecognized remote plugin"
            r"|unavailable|failed to instantiate provider|load plugin schemas|could not load",
            re.IGNORECASE,
        ),
        "the provider ended; scan again, and report it to its maintainers if it stays",
    ),
)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One complaint. `address` is the resource that it is about, empty where Terraform does not say."""

    severity: str
    summary: str
    detail: str = ""
    address: str = ""

    @property
    def is_error(self) -> bool:
        """Whether it is an error, and no warning."""
        return self.severity == "error"

    @property
    def told(self) -> str:
        """Both parts in one line, redacted and bounded."""
        parts = [" ".join(part.split()) for part in (self.summary, self.detail)]
        text = REDACT(_NOISE.sub("", ": ".join(part for part in parts if part)))
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"

    @property
    def kind(self) -> str:
        """A finding's code: `state_locked`, `credentials_refused`, `state_unreadable`, `provider_failed`, `not_read`, …"""
        text = f"{self.summary}\n{self.detail}"
        return next((code for code, pattern, _ in _KINDS if pattern.search(text)), "not_read")

    @property
    def hint(self) -> str:
        """What to do about it."""
        known = {code: hint for code, _, hint in _KINDS}
        return known.get(self.kind, "run `terraform plan` in the root's folder to see all of it")

    def as_unread(self, root: str) -> Unread:
        """As something that a scan could not look at."""
        return Unread(self.kind, self.address or root, self.told, self.hint)

    def as_error(self, what: str) -> UnknownError:
        """As an error that leaves a claim UNKNOWN."""
        return UnknownError(f"{what}: {self.told}", hint=self.hint)


def parse(stdout: str, stderr: str) -> tuple[Diagnostic, ...]:
    """The diagnostics in the JSON lines of `stdout`; where there are none, those that `stderr` shows as text."""
    found: list[Diagnostic] = []
    for line in stdout.splitlines():
        if '"diagnostic"' not in line:
            continue
        try:
            told = json.loads(line)["diagnostic"]
            found.append(
                Diagnostic(
                    str(told.get("severity", "error")),
                    str(told.get("summary", "")),
                    str(told.get("detail", "")),
                    str(told.get("address", "")),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(dict.fromkeys(found)) or _boxed(stderr)


def _boxed(text: str) -> tuple[Diagnostic, ...]:
    found: list[Diagnostic] = []
    severity, summary, detail = "", "", list[str]()

    def close() -> None:
        if severity:
            found.append(Diagnostic(severity, summary, " ".join(detail).strip(), _address(detail)))

    for line in text.splitlines():
        plain = _BOX.sub("", line).rstrip()
        if match := re.match(r"(Error|Warning): (.*)", plain):
            close()
            severity, summary, detail = match[1].lower(), match[2], []
        elif severity:
            detail.append(plain)
    close()
    return tuple(dict.fromkeys(found))


def _address(detail: list[str]) -> str:
    for line in detail:
        if match := re.match(r"with ([^\s,]+),", line):
            return match[1]
    return ""
