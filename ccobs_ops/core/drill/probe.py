"""Is the restored service one: the inventory's SQL and HTTP questions, asked of the copies while they run."""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.drill.step import Outcome
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Claim, Verdict, conclude, failed, passed
from ccobs_ops.core.postgres.server import explain
from ccobs_ops.core.redaction import REDACT

if TYPE_CHECKING:
    from ccobs_ops.core.drill.held import Held
    from ccobs_ops.inventory_drills import Probe

_MOST_BYTES = 1024 * 1024


def ask_all(probes: Sequence[Probe], layers: Mapping[str, Held], databases: Mapping[str, str]) -> Outcome:
    """Ask every probe; what does not answer as it should refutes the service. `databases` is each target's default one."""
    claims = [ask(probe, layers, databases) for probe in probes]
    verdict = conclude(claims)
    if verdict is Verdict.PASSED:
        return Outcome(verdict, "; ".join(f"{claim.name}: {claim.reason}" for claim in claims))
    wrong = [claim for claim in claims if claim.verdict is verdict]
    told = "; ".join(f"{claim.name}: {claim.reason}" for claim in wrong)
    return Outcome(verdict, f"{len(wrong)} of {len(claims)} probes: {told}")


def ask(probe: Probe, layers: Mapping[str, Held], databases: Mapping[str, str]) -> Claim:
    """One probe as a claim of its own name."""
    try:
        if probe.sql is not None:
            target = str(probe.target)
            return _sql(probe, layers[target].copy, probe.database or databases[target])
        if probe.path is not None:
            return _judge(probe, *_over_socket(probe, layers[str(probe.target)].copy.sockets[0]))
        return _judge(probe, *_over_network(probe))
    except (OSError, http.client.HTTPException, OpsError) as error:
        told = error.message if isinstance(error, OpsError) else f"{type(error).__name__}: {error}"
        return failed(probe.name, f"no answer: {REDACT(told)}")


def _sql(probe: Probe, copy: Any, database: str) -> Claim:
    import psycopg  # noqa: PLC0415

    milliseconds = int(probe.timeout.total_seconds() * 1000)
    try:
        with copy.connect(database) as connection:
            connection.execute(f"set statement_timeout = {milliseconds}")
            row = connection.execute(probe.sql).fetchone()
    except psycopg.Error as error:
        return failed(probe.name, f"the query fails on the copy: {explain(error)}")
    found = row[0] if row else None
    same = found == probe.expect or str(found) == str(probe.expect)
    told = f"gives {found!r}, expected {probe.expect!r}"
    return passed(probe.name, told) if same else failed(probe.name, told)


def _over_socket(probe: Probe, path: Path) -> tuple[int, str]:
    """GET over a unix socket: a restored copy listens nowhere else."""
    connection = http.client.HTTPConnection("localhost", timeout=probe.timeout.total_seconds())
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(probe.timeout.total_seconds())
        connection.sock.connect(str(path))
        connection.request("GET", str(probe.path))
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()


def _over_network(probe: Probe) -> tuple[int, str]:
    request = urllib.request.Request(str(probe.url), headers={"User-Agent": "ccobs-ops"})
    try:
        with urllib.request.urlopen(request, timeout=probe.timeout.total_seconds()) as answer:
            return answer.status, answer.read(_MOST_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_MOST_BYTES).decode("utf-8", "replace")


def _judge(probe: Probe, status: int, body: str) -> Claim:
    if status != probe.status:
        return failed(probe.name, f"answers {status}, expected {probe.status}")
    if probe.contains not in body:
        return failed(probe.name, f"answers {status} without {probe.contains!r} in it")
    return passed(probe.name, f"answers {status}")
