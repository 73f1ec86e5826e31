"""Alerts and metrics from the command line, from cron and from Dagster: what is asked, what is shown, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.cli.main import run
from ccobs_ops.core.alerts.dispatch import dispatch
from ccobs_ops.core.exercise import Claim, Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import load
from tests.alerts_support import Clock, Webhook, closed, context, estate, free_port, happened, incident, keep

ROOT = Path(__file__).resolve().parents[2]
HOOK = "  channels: {hook: {apprise: file:secrets/hook, timeout: 2s, attempts: 1}}\n"


@pytest.fixture
def hook() -> Iterator[Webhook]:
    made = Webhook()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def here(tmp_path: Path, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CCOBS_INVENTORY", raising=False)
    estate(tmp_path, HOOK, {"hook": hook.url})
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert run([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def failing_exercise(at: datetime) -> Exercise:
    claim = Claim("exact", Verdict.FAILED, "3 canaries are missing")
    return Exercise(
        "E1", "postgres/observatory", "validation", Verdict.FAILED, claim.reason, at, at, claims=(claim,)
    )


def test_cron_needs_one_command_from_a_failed_claim_to_a_message(
    here: Path, hook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, "alerts", "send")["planned"] == 0
    with Ledger.of(load(here / "inventory.yaml")) as ledger:
        ledger.record(failing_exercise(datetime.now(UTC)))
    assert asked(capsys, "alerts", "send")["sent"] == 1
    assert hook.told == [("opened", "postgres/observatory validation exact")]

    found = asked(capsys, "alerts", "list")
    assert [(each["name"], each["state"], each["waiting"]) for each in found["channels"]] == [
        ("hook", "delivers", 0)
    ]
    assert [(each["key"], each["held"]) for each in found["open"]] == [
        ("postgres/observatory validation exact", False)
    ]
    assert [(each["kind"], each["state"], each["attempts"]) for each in found["messages"]] == [
        ("opened", "sent", 1)
    ]
    assert run(["alerts", "list"]) == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "delivers" in shown


def test_a_receiver_that_is_down_is_said_with_the_next_step(
    here: Path, hook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    hook.status = 503
    assert run(["alerts", "test", "hook"]) == 1
    told = capsys.readouterr().err
    assert "did not take a message" in told
    assert "503" in told
    assert "HINT: try it with: ccobs-ops alerts test hook" in told
    hook.status = 200
    assert asked(capsys, "alerts", "test", "hook")["taken"] is True
    assert hook.told == [("test", "test")]

    asked(capsys, "alerts", "send")
    with Ledger.of(load(here / "inventory.yaml")) as ledger:
        ledger.record(failing_exercise(datetime.now(UTC)))
    hook.status = 503
    done = asked(capsys, "alerts", "send", status=1)
    assert (done["failed"], done["failing"], done["waiting"]) == (["hook"], ["hook"], 1)
    assert asked(capsys, "alerts", "list")["channels"][0]["state"] == "failing"


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("no url at all", "names no apprise URL"),
        ("nothing://x", "names no apprise URL"),
    ],
)
def test_a_secret_that_is_no_url_is_named_and_not_shown(
    here: Path, capsys: pytest.CaptureFixture[str], secret: str, told: str
) -> None:
    (here / "secrets" / "hook").write_text(secret)
    assert run(["alerts", "test", "hook"]) == 1
    shown = capsys.readouterr().err
    assert told in shown
    assert secret not in shown


def test_wrong_usage_is_said_before_anything_is_sent(
    here: Path, hook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["alerts", "test", "hok"]) == 2
    assert "did you mean 'hook'?" in capsys.readouterr().err
    (here / "secrets" / "hook").unlink()
    assert run(["alerts", "test", "hook"]) == 2
    assert "the secret file:secrets/hook cannot be read" in capsys.readouterr().err
    (here / "inventory.yaml").write_text("version: 1\nenvironment: lab\n")
    assert run(["alerts", "send"]) == 2
    assert "has no channel" in capsys.readouterr().err
    assert run(["alerts", "list"]) == 0
    assert hook.bodies == []


def test_a_heartbeat_comes_once_a_day_and_tells_how_the_night_went(tmp_path: Path, hook: Webhook) -> None:
    inventory = estate(tmp_path, HOOK, {"hook": hook.url})
    clock = Clock(datetime(2026, 11, 23, 7, tzinfo=UTC))
    with context(inventory, clock) as ctx:
        dispatch(ctx)
        keep(ctx.ledger, happened("opened", incident(severity=incident().severity), clock.now))
        for _ in range(48):
            clock.forward(timedelta(hours=1))
            dispatch(ctx)
    beats = [body for body in hook.bodies if body["kind"] == "heartbeat"]
    assert [body["title"] for body in beats] == [
        "[HEARTBEAT] ccobs-ops lab, last night: 0 of 2 proven, 1 open",
    ] * 2


def test_a_channel_that_is_taken_away_leaves_nothing_behind(tmp_path: Path, hook: Webhook) -> None:
    dead = f"json://127.0.0.1:{free_port()}/"
    both = HOOK.replace("channels: {", "channels: {gone: {apprise: file:secrets/gone},")
    inventory = estate(tmp_path, both, {"hook": hook.url, "gone": dead})
    clock = Clock()
    with context(inventory, clock) as ctx:
        dispatch(ctx)
        keep(ctx.ledger, happened("opened", incident()))
        assert dispatch(ctx).waiting == 1
    with context(estate(tmp_path, HOOK, {"hook": hook.url}), clock) as ctx:
        assert dispatch(ctx).waiting == 0
        keep(ctx.ledger, happened("verified", closed(incident(), clock.now)))
        dispatch(ctx)
    assert [kind for kind, _ in hook.told if kind != "heartbeat"] == ["opened", "resolved"]


def test_the_sensor_dispatches_and_launches_nothing(tmp_path: Path, hook: Webhook) -> None:
    dg = pytest.importorskip("dagster")
    from ccobs_ops.sensors.alerts import alert_sensors

    inventory = estate(tmp_path, HOOK, {"hook": hook.url})
    [sensor] = alert_sensors(inventory, running=True)
    assert sensor.minimum_interval_seconds == 30
    with context(inventory, lambda: datetime.now(UTC)) as ctx:
        dispatch(ctx)
        keep(ctx.ledger, happened("opened", incident()))
    with dg.DagsterInstance.ephemeral() as instance:
        tick = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert not tick.run_requests
    assert tick.skip_message == "1 sent, 0 waiting"
    assert hook.told == [("opened", "postgres/observatory validation exact")]
    assert alert_sensors(estate(tmp_path, "  channels: {}\n", {}), running=True) == []


def test_the_exporter_serves_until_it_is_told_to_end(here: Path) -> None:
    command = [sys.executable, "-m", "ccobs_ops.cli.main", "metrics", "serve", "--listen", "127.0.0.1:0"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    child = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True, env=environment)
    assert child.stderr is not None
    try:
        line = child.stderr.readline()
        address = line.removeprefix("serving ").strip()
        assert address.startswith("http://127.0.0.1:"), line
        with urllib.request.urlopen(address, timeout=60) as answer:
            text = answer.read().decode()
        assert "ccobs_up 1.0" in text
        taken = subprocess.run(
            [*command[:-1], address.removeprefix("http://").partition("/")[0]],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert taken.returncode == 2
        assert "cannot be listened on" in taken.stderr
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
        assert child.stderr.read() == "ended\n"
    finally:
        child.kill()
        child.wait(20)
        child.stderr.close()


def test_metrics_print_says_when_the_ledger_cannot_be_read(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["metrics", "print"]) == 0
    assert "ccobs_up 1.0" in capsys.readouterr().out
    (here / "ledger.db").write_bytes(b"not a database" * 1000)
    assert run(["metrics", "print"]) == 3
    told = capsys.readouterr()
    assert "ccobs_up 0.0" in told.out
    assert "HINT" in told.err
