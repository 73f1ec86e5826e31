"""The lab's application: keeps writing to the observatory database, and reconnects for ever.

`python -m ccobs_ops.lab.writer --port P --password-file FILE`. Every transaction is short: the role's
transaction_timeout bounds the time between a row's `created_at` and its commit, which the inventory's compared checks
rely on.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import psycopg

INTERVAL_SECONDS = 0.25
RECONNECT_SECONDS = 0.5
REPORT_EVERY = 240

Transaction = tuple[str, ...]

_PICK = (
    "(SELECT id FROM conversations WHERE id >= 1 + %(pick)s * (SELECT max(id) FROM conversations)"
    " ORDER BY id LIMIT 1)"
)
_SAY = f"""
WITH talk AS (
  UPDATE conversations SET message_count = message_count + 1, updated_at = clock_timestamp()
  WHERE id = coalesce({_PICK}, 1) RETURNING id, message_count)
INSERT INTO messages (conversation_id, position, role, content, input_tokens, output_tokens, created_at)
SELECT id, message_count, %(role)s, %(text)s, %(tokens)s, %(tokens)s / 3, clock_timestamp() FROM talk
"""
_CALL = """
INSERT INTO tool_calls (message_id, tool, arguments, duration_ms, succeeded, created_at)
SELECT max(id), %(tool)s, jsonb_build_object('path', %(text)s::text), %(tokens)s, true, clock_timestamp() FROM messages
"""
_OPEN = """
INSERT INTO conversations (project_id, user_id, title, model, started_at, updated_at, message_count)
SELECT p.id, p.owner_id, %(text)s, 'claude-sonnet', clock_timestamp(), clock_timestamp(), 0
FROM projects p WHERE p.id = 1 + %(tokens)s %% (SELECT count(*) FROM projects)
"""
_SEEN = "UPDATE users SET last_seen_at = clock_timestamp() WHERE id = 1 + %(tokens)s %% (SELECT count(*) FROM users)"
MIX: tuple[Transaction, ...] = ((_SAY,), (_SAY, _CALL), (_SAY, _CALL), (_SEEN,), (_OPEN,), (_SAY, _SEEN))
"""Transactions, each a sequence of statements; one is drawn for every tick."""


def write(dsn: str, password: str, *, rng: random.Random, stop: threading.Event) -> int:
    """Write until `stop` is set; returns the number of commits. Whatever goes wrong, it connects again and goes on."""
    commits = 0
    while not stop.is_set():
        try:
            with psycopg.connect(dsn, password=password, connect_timeout=5) as connection:
                _log("connected")
                while not stop.wait(INTERVAL_SECONDS):
                    _transact(connection, rng)
                    commits += 1
                    if commits % REPORT_EVERY == 0:
                        _log(f"{commits} transactions committed")
        except (psycopg.Error, OSError) as error:
            _log(f"{' '.join(str(error).split())}; {commits} transactions so far, connecting again")
            stop.wait(RECONNECT_SECONDS)
    return commits


def _transact(connection: psycopg.Connection, rng: random.Random) -> None:
    values = {
        "pick": rng.random(),
        "role": rng.choice(("user", "assistant")),
        "tool": rng.choice(("Bash", "Read", "Edit", "Grep", "WebFetch")),
        "text": f"src/{rng.randbytes(4).hex()}/{rng.randbytes(24).hex()}.py",
        "tokens": rng.randrange(20, 4000),
    }
    with connection.transaction():
        for statement in rng.choice(MIX):
            connection.execute(statement, values)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _log(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} writer: {text}", flush=True)


def main() -> int:
    """Parse the command line and write until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="writer")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    dsn = (
        f"host=127.0.0.1 port={arguments.port} user=app dbname=observatory application_name=writer"
        " sslmode=disable gssencmode=disable tcp_user_timeout=10000"
    )
    write(dsn, arguments.password_file.read_text().strip(), rng=random.Random(arguments.seed), stop=stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
