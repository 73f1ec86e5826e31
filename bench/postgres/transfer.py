"""The hand-made pipeline's two ends: `python -m bench.postgres.transfer put|get KEY`.

What an engineer would write: multipart upload from a pipe by boto3's own transfer manager, and a download by ranges
side by side, written to a pipe in order.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

PART_BYTES = 16 * 1024 * 1024
THREADS = 8


def put(s3: Any, bucket: str, key: str) -> None:
    """Upload standard input."""
    s3.upload_fileobj(
        sys.stdin.buffer,
        bucket,
        key,
        Config=TransferConfig(
            multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=THREADS
        ),
    )


def get(s3: Any, bucket: str, key: str) -> None:
    """Download to standard output."""
    size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]

    def part(start: int) -> bytes:
        span = f"bytes={start}-{min(start + PART_BYTES, size) - 1}"
        return s3.get_object(Bucket=bucket, Key=key, Range=span)["Body"].read()

    with ThreadPoolExecutor(THREADS) as pool:
        running: deque[Future[bytes]] = deque()
        for start in range(0, size, PART_BYTES):
            running.append(pool.submit(part, start))
            if len(running) > THREADS:
                sys.stdout.buffer.write(running.popleft().result())
        while running:
            sys.stdout.buffer.write(running.popleft().result())
    sys.stdout.buffer.flush()


def main() -> int:
    """Bucket and endpoint come from the environment, so that a pipeline reads well."""
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["BENCH_ENDPOINT"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=THREADS + 2, proxies={}),
    )
    {"put": put, "get": get}[sys.argv[1]](s3, os.environ["BENCH_BUCKET"], sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
