"""What is usually written by hand: two boto3 paginators, merged key by key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config


def listing(endpoint: str, bucket: str) -> Iterator[tuple[str, int, str]]:
    """Every object, in order."""
    config = Config(s3={"addressing_style": "path"})
    client: Any = boto3.client("s3", endpoint_url=endpoint, config=config)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for row in page.get("Contents", ()):
            yield row["Key"], row["Size"], row["ETag"]


def main() -> None:
    """Print each difference."""
    endpoint, source, replica = sys.argv[1:]
    ours, theirs = listing(endpoint, source), listing(endpoint, replica)
    one, two = next(ours, None), next(theirs, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            assert one is not None
            print("missing", one[0])
            one = next(ours, None)
        elif one is None or two[0] < one[0]:
            print("only_in_replica", two[0])
            two = next(theirs, None)
        else:
            if one[1] != two[1]:
                print("size_mismatch", one[0])
            elif one[2] != two[2]:
                print("content_mismatch", one[0])
            one, two = next(ours, None), next(theirs, None)


if __name__ == "__main__":
    main()
