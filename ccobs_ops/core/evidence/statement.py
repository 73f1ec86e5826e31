"""in-toto statements (Statement v1) about documents of ours: whose bytes they are of, what they say, where the chain stood.

The subject is the document by its SHA-256; the predicate repeats what is needed to find it in the ledger, and holds a head
of the ledger's chain, so that each signed document is also a checkpoint of the chain. docs/json.md has the shape.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops import __version__
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.evidence import dsse
from ccobs_ops.core.evidence.chain import Head
from ccobs_ops.core.evidence.dsse import Envelope
from ccobs_ops.core.evidence.keys import PrivateKey, PublicKey
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.ledger_chain import Link

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://github.com/ccobservatory/ccobs-ops/evidence/v1"


@dataclass(frozen=True, slots=True)
class About:
    """What a statement says of its document. `link` is that of the exercise itself, where it was in the ledger already."""

    kind: str
    environment: str
    exercise: dict[str, Any]
    head: Head
    signed_at: datetime
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was verified: its documents by name with their SHA-256 in hex, its predicate, and known positions."""

    subjects: tuple[tuple[str, str], ...]
    predicate: dict[str, Any]
    heads: tuple[Head, ...]


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def attest(name: str, document: bytes, about: About, key: PrivateKey) -> Envelope:
    """The signed statement about `document`, a file called `name`."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": sha256(document)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "kind": about.kind,
            "environment": about.environment,
            "exercise": about.exercise,
            "link": None
            if about.link is None
            else {"seq": about.link.seq, "digest": about.link.digest, "link": about.link.link},
            "head": {"seq": about.head.seq, "link": about.head.link},
            "signed_at": rfc3339(about.signed_at),
            "tool": {"name": "ccobs-ops", "version": __version__},
        },
    }
    return dsse.sign(json.dumps(statement, indent=1).encode(), dsse.IN_TOTO, key)


def opened(envelope: Envelope, key: PublicKey) -> Statement:
    """The statement in `envelope`, verified with `key`. Raises DamagedError when it is not by it, or none of ours."""
    payload = dsse.verify(envelope, key)
    try:
        document = json.loads(payload)
        kinds = (document["_type"], document["predicateType"])
        predicate = document["predicate"]
        subjects = tuple((str(each["name"]), str(each["digest"]["sha256"])) for each in document["subject"])
        places = [predicate["head"], predicate.get("link")]
        heads = tuple(Head(int(each["seq"]), str(each["link"])) for each in places if each)
    except (ValueError, KeyError, TypeError):
        kinds, subjects, predicate, heads = ("", ""), (), {}, ()
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE) or not subjects:
        raise DamagedError(
            "what was signed is not a statement of ccobs-ops about a document",
            code="wrong_statement",
            subject=kinds[1] or "no predicate type",
        )
    return Statement(subjects, predicate, tuple(head for head in heads if head.seq > 0))
