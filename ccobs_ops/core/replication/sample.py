"""Which objects are read in full on both sides, and what that proves.

An object is drawn by the first digits of its ETag, which are as good as random and found in a page without taking it apart,
and then by a hash of its key, both with a seed of the comparison. A later comparison draws others.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass

CONFIDENCE = 0.95
_DIGITS = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Sample:
    """Draws a share of all objects. `mark` is what the ETag of a drawn object begins with; None draws none."""

    mark: bytes | None
    seed: int
    rate: float
    _share: float

    @classmethod
    def of(cls, rate: float, seed: int) -> Sample:
        """Draw about `rate` (0 to 1) of the objects."""
        if rate <= 0:
            return cls(None, seed, 0.0, 0.0)
        digits = min(int(math.log(1 / rate, 16)), 6)
        mark = "".join(random.Random(seed).choices(_DIGITS, k=digits))
        return cls(mark.encode(), seed, rate, min(rate * 16**digits, 1.0))

    def keeps(self, key: bytes) -> bool:
        """Whether an object whose ETag has the mark is drawn."""
        return self.position(key) < self._share

    def draws(self, key: bytes) -> bool:
        """Whether an object is drawn whose ETag says nothing."""
        return self.position(key) < self.rate

    def position(self, key: bytes) -> float:
        """Where `key` falls between 0 and 1, the same for the whole comparison."""
        digest = hashlib.blake2b(key, digest_size=8, key=self.seed.to_bytes(8, "big")).digest()
        return int.from_bytes(digest, "big") / 2**64


def undetected_ratio(read: int) -> float:
    """The share of objects that may still be wrong if none of `read` drawn ones was, with 95 % confidence.

    The largest p for which drawing `read` good ones has a chance of at least 5 %: 1 - 0.05^(1/n), about 3/n.
    """
    return 1.0 - (1.0 - CONFIDENCE) ** (1.0 / read) if read else 1.0
