"""Keep secrets out of everything that leaves a process: output tails, errors, findings, metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

MASK = "******"

_START = r"(?<![\w.-])"
_NAME = (
    r"[\w.-]{0,128}"
    r"(?:password|passwd|passphrase|secret(?!smanager)|token|api[_-]?key|access[_-]?key|private[_-]?key)"
    r"[\w.-]{0,128}"
)
_KEY = _START + _NAME
# up to the quote that began it; '' and, in an escaped string, \\\" are quotes within
_INSIDE = r"(?:''|\\\\\\[\"']|(?!(?P=quote))\\?.)+"
# repetitions are bounded so that no input, however odd, costs more than time in proportion to its length

_PATTERNS = (
    # URLs with a password: scheme://user:secret@host; the password may itself hold an @
    re.compile(
        r"(?P<keep>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,31}://[^\s:/@]{0,128}:)[^\s\"']{1,1024}(?=@)",
        re.IGNORECASE,
    ),
    # an HTTP header, to the end of its line
    re.compile(r"(?P<keep>\bauthorization\\*[\"']?\s*[=:]\s*\\*[\"']?)[^\r\n\"'\\]+", re.IGNORECASE),
    # a key that sounds like a secret, with a value in quotes, which may be escaped: JSON, conninfo, YAML, SQL
    re.compile(
        rf"(?P<keep>{_KEY}\\*[\"']?(?:\s*[=:]\s*|\s+(?='))(?P<quote>\\*[\"'])){_INSIDE}", re.IGNORECASE
    ),
    # the same with a bare value: JSON's ends before a comma or bracket, any other at the next space
    re.compile(rf"(?P<keep>{_KEY}\\*[\"']\s*:\s*)[^\s,}}\]\"'\\]+", re.IGNORECASE),
    re.compile(rf"(?P<keep>{_KEY}\s*[=:]\s*)(?!\\*[\"'])(?:\\.|\S)+", re.IGNORECASE),
    # an option and its value as two words of a command line
    re.compile(rf"(?P<keep>{_START}--(?!no-){_NAME}\s+)(?!-)\S+", re.IGNORECASE),
    # AWS access key ids
    re.compile(r"(?P<keep>)\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    # PEM blocks, also one whose beginning or end was cut off
    re.compile(
        r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    re.compile(r"(?P<keep>\A)(?:(?!-----BEGIN ).)+?(?=-----END [A-Z ]*PRIVATE KEY-----)", re.DOTALL),
)
_GUARD = re.compile(r"://|authorization|pass|secret|token|key|AKIA|ASIA", re.IGNORECASE)
"""What has none of these has nothing that `_PATTERNS` find, and is spared them."""


class Redactor:
    """Replaces known secret values and things that look like secrets by `******`.

    Known values are strings of four characters or more (shorter ones would blank out ordinary words), as they are, as
    a URL writes them and as JSON does.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Learn a value that must never be printed."""
        if len(secret) >= 4:
            self._secrets |= {
                secret,
                quote(secret, safe="", errors="surrogateescape"),
                json.dumps(secret)[1:-1],
            }

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        if _GUARD.search(text) is None:
            return text
        for pattern in _PATTERNS:
            text = pattern.sub(lambda match: match.group("keep") + MASK, text)
        return text


REDACT = Redactor()
"""The process-wide redactor; whoever resolves a secret adds it here."""


def redact_document(value: Any) -> Any:
    """`value`, a JSON document, with every text in it redacted: redacting its text as a whole could leave no JSON."""
    if isinstance(value, str):
        return REDACT(value)
    if isinstance(value, dict):
        return {name: redact_document(item) for name, item in value.items()}
    if isinstance(value, list):
        return [redact_document(item) for item in value]
    return value
