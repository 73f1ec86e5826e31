"""Serve the metrics by HTTP until told to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.metrics.collector import LedgerCollector


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9464`, `[::1]:9464` or `:9464` (every interface) as host and port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is no address; write for example 127.0.0.1:9464")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


def rendered(path: Path, *, log: Callable[[str], None]) -> tuple[bytes, bool]:
    """What a scrape would give for the inventory at `path`, and whether everything could be read."""
    registry, collector = registry_of(path, log)
    try:
        return generate_latest(registry), collector.up
    finally:
        collector.close()


def serve(
    path: Path,
    address: tuple[str, int],
    *,
    log: Callable[[str], None],
    wait: Callable[[], None],
    started: Callable[[str], None],
) -> None:
    """Serve until `wait` returns or is interrupted; `started` is told the address. Ends what it started.

    Raises UsageError when the address cannot be had. Every path answers with the metrics.
    """
    registry, collector = registry_of(path, log)
    host, port = address
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on: {error}", hint="name another with --listen HOST:PORT"
        ) from None
    try:
        shown = f"[{host}]" if ":" in host else host
        started(f"http://{shown}:{server.server_port}/metrics")
        wait()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        collector.close()


def registry_of(path: Path, log: Callable[[str], None]) -> tuple[CollectorRegistry, LedgerCollector]:
    """A registry of its own with the collector for the inventory at `path`; close the collector when done."""
    registry = CollectorRegistry(auto_describe=False)
    collector = LedgerCollector(path, log=log)
    registry.register(collector)
    return registry, collector
