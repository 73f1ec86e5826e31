"""The lab's Kubernetes: fills etcd once, then keeps writing to it as an idle cluster does, and reconnects for ever.

`python -m ccobs_ops.lab.etcd_writer --endpoint URL … --secrets DIR --keys N --seed S`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.tls import Tls
from ccobs_ops.lab.kubernetes_keys import Pair, churn, keys
from ccobs_ops.lab.services.etcd import SIGN

INTERVAL_SECONDS = 0.25
RECONNECT_SECONDS = 0.5
BATCH = 120
SIDE_BY_SIDE = 6
COMPACT_EVERY = 1200
"""Rounds, five minutes of them: an API server compacts as often, up to where it was five minutes before."""


def fill(client: EtcdClient, count: int, seed: int, *, stop: threading.Event) -> bool:
    """Write all keys unless that was done before; returns whether it is done now."""
    if client.range(SIGN.encode(), count_only=True).count:
        return True
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        pending: deque[Future[int]] = deque()
        for batch in _batches(keys(count, seed)):
            if stop.is_set():
                return False
            pending.append(pool.submit(client.put_many, list(batch)))
            if len(pending) >= SIDE_BY_SIDE:
                pending.popleft().result()
        for each in pending:
            each.result()
    return True


def _batches(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    batch: list[Pair] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def write(endpoints: Sequence[str], tls: Tls, *, count: int, seed: int, stop: threading.Event) -> None:
    """Fill, then write until `stop` is set. Whatever goes wrong, it connects to the next member and goes on."""
    turns = churn(seed)
    attempt = 0
    while not stop.is_set():
        endpoint = endpoints[attempt % len(endpoints)]
        attempt += 1
        try:
            with EtcdClient(endpoint, tls, timeout=5) as client:
                if fill(client, count, seed, stop=stop):
                    _log(f"etcd is filled, writing through {endpoint}")
                    _churn(client, turns, stop)
        except OpsError as error:
            _log(f"{error.message}; connecting to the next member")
            stop.wait(RECONNECT_SECONDS)


def _churn(
    client: EtcdClient, turns: Iterator[list[tuple[bytes, bytes | None]]], stop: threading.Event
) -> None:
    earlier = 0
    for number, writes in enumerate(turns):
        latest = dict(writes)  # a key may be written once in a transaction
        revision = client.put_many([*latest.items(), (SIGN.encode(), f"{time.time():.3f}".encode())])
        if number % COMPACT_EVERY == 0:
            if earlier:
                client.compact(earlier, physical=False)
            earlier = revision
        if stop.wait(INTERVAL_SECONDS):
            return


def _log(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} etcd-writer: {text}", flush=True)


def main() -> int:
    """Parse the command line and write until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="etcd-writer")
    parser.add_argument("--endpoint", action="append", required=True)
    parser.add_argument("--secrets", type=Path, required=True)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ca, cert, key = (
        (arguments.secrets / name).read_bytes()
        for name in ("etcd_ca.crt", "etcd_client.crt", "etcd_client.key")
    )
    tls = Tls(ca, cert, key, "etcd_ca.crt", "etcd_client.crt", None)
    write(arguments.endpoint, tls, count=arguments.keys, seed=arguments.seed, stop=stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
