"""Merely drain both listings as raw bytes: the floor for whoever lists. Eight connections, known cuts, unsigned."""

from __future__ import annotations

import http.client
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

CUTS = ("", "conversations/2026/~", "media/img/~", "media/vid/~", "~")


def drain(endpoint: str, bucket: str, low: str, high: str) -> int:
    """List `(low, high]` without looking at more than the last key; returns the number of rows."""
    url = urlsplit(endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    count = 0
    while True:
        connection.request(
            "GET", f"/{bucket}?list-type=2&encoding-type=url&start-after={quote(low, safe='')}"
        )
        body = connection.getresponse().read()
        last = body.rfind(b"<Key>")
        if last < 0:
            return count
        low = body[last + 5 : body.index(b"<", last + 5)].decode()
        count += body.count(b"<Contents>")
        if low >= high:
            extra = [key for key in body.split(b"<Key>")[1:] if key[: key.index(b"<")].decode() > high]
            return count - len(extra)
        if b"<IsTruncated>false" in body[:2000]:
            return count


def main() -> None:
    """Print how many rows both listings have."""
    endpoint, *buckets = sys.argv[1:]
    work = [(bucket, low, high) for bucket in buckets for low, high in itertools.pairwise(CUTS)]
    with ThreadPoolExecutor(8) as pool:
        print(sum(pool.map(lambda each: drain(endpoint, *each), work)))


if __name__ == "__main__":
    main()
