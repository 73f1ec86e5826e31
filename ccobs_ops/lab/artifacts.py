"""What the lab's application keeps in its bucket with versions: the same objects for the same seed."""

from __future__ import annotations

from random import Random
from typing import Any

from ccobs_ops.lab.plan import ARTIFACTS

OBJECTS = 24
REPLACED = 6
"""How many of them were written twice: those have an older version."""
ODD_KEYS = ("exports/plus+and%25.txt", "exports/with a space.txt")
"""ASCII only: in a bucket with versions, SeaweedFS 4.48 lists keys with other letters out of the order of their bytes."""


def seed_artifacts(s3: Any, seed: int) -> None:
    """Fill the bucket; raises botocore's errors."""
    rng = Random(seed)

    def put(key: str, size: int) -> None:
        s3.put_object(
            Bucket=ARTIFACTS,
            Key=key,
            Body=rng.randbytes(size),
            Metadata={"made-by": "lab"},
            ContentType="application/octet-stream",
        )

    keys = [f"runs/{number:04d}/transcript.jsonl" for number in range(OBJECTS)]
    for key in keys:
        put(key, rng.randrange(200, 4000))
    for key in keys[:REPLACED]:
        put(key, rng.randrange(200, 4000))
    for key in ODD_KEYS:
        put(key, 64)
