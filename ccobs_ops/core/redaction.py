"""Keep secrets out of everything that leaves a process: output tails, errors, findings, metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "******"

_PATTERNS = (
    # URLs with a password: scheme://user:secret@host
    re.compile(r"(?P<keep>[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@]+(?=@)", re.IGNORECASE),
    # key=value and "key": "value" where the key sounds like a secret
    re.compile(
        r"(?P<keep>\b[\w.-]*(?:password|passwd|secret|token|api_?key|access_?key|private_?key|authorization)"
        r"[\w.-]*[\"']?\s*[=:]\s*[\"']?)(?!\*{6})[^\s\"',;&]+",
        re.IGNORECASE,
    ),
    # AWS access key ids
    re.compile(r"(?P<keep>)\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    # PEM blocks
    re.compile(
        r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
)


class Redactor:
    """Replaces known secret values and things that look like secrets by `******`.

    Known values are exact strings of four characters or more (shorter ones would blank out ordinary words).
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Learn a value that must never be printed."""
        if len(secret) >= 4:
            self._secrets.add(secret)

    def __call__(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda match: match.group("keep") + MASK, text)
        return text


REDACT = Redactor()
"""The process-wide redactor; whoever resolves a secret adds it here."""
