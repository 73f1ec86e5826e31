"""The lab goes up, tells the truth about itself, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.inventory import Inventory
from ccobs_ops.lab import Lab
from ccobs_ops.lab.lab import StartError, take_down
from ccobs_ops.lab.plan import BUCKET, MARK
from ccobs_ops.lab.ports import Reserved
from ccobs_ops.lab.processes import Identity, leftovers
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services.postgres import ask, connect
from ccobs_ops.lab.state import State, state_file
from tests.lab_support import MakeLab

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
COUNT = "SELECT count(*) FROM messages"
FINGERPRINT = "SELECT CAST(sum(hashtextextended(CAST(m AS text), 0)) AS text) FROM messages m"


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.1)


def cli(*arguments: str, ok: tuple[int, ...] = (0,)) -> process.Completed:
    return process.run(
        [sys.executable, "-P", "-m", "ccobs_ops.cli.main", *arguments],
        deadline=120,
        env=process.environment({"PYTHONPATH": str(ROOT)}),
        ok=ok,
    )


def dead(lab: Lab) -> list[str]:
    return [look.name for look in lab.status() if look.state == "dead"]


def test_everything_comes_up_answers_and_goes_without_a_trace(make_lab: MakeLab) -> None:
    began = time.monotonic()
    lab = make_lab(scale=1.0)
    print(f"up in {time.monotonic() - began:.1f} s")
    looks = lab.status()
    assert {look.name: look.state for look in looks} == dict.fromkeys(
        (
            *("us", "eu", "postgres", "filer-sync", "writer", "agent", "terraform"),
            *("etcd-1", "etcd-2", "etcd-3", "etcd-writer", "etcd-agent", "replication-agent"),
            *("vault", "pager"),
        ),
        "running",
    )
    memory = sum(look.memory_bytes for look in looks)
    print(f"{memory / 1024**2:.0f} MiB")
    assert memory < 1.5 * 1024**3
    assert ask(lab.plan, COUNT)[0] >= 50_000
    ports = [port + offset for port in lab.plan.ports.values() for offset in range(4)]

    began = time.monotonic()
    lab.down()
    print(f"down in {time.monotonic() - began:.1f} s")
    assert leftovers(MARK, str(lab.directory), lab.plan.home) == []
    assert [path.name for path in lab.directory.iterdir()] == ["logs"]
    assert not lab.plan.home.exists()
    assert [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*{port}.sock")] == []

    lab.down()
    assert take_down(lab.directory) is False
    again = make_lab(services=("postgres",))
    assert [look.state for look in again.status()] == ["running"]
    again.down(purge=True)
    assert not again.directory.exists()


def test_the_inventory_is_valid_and_holds_no_secret(lab: Lab) -> None:
    import yaml

    text = lab.inventory_path.read_text()
    inventory = Inventory.model_validate(yaml.safe_load(text))
    assert set(inventory.stores) == {"us", "eu", "us_artifacts", "eu_artifacts", "vault"}
    assert set(inventory.replication) == {"backups", "artifacts"}
    assert inventory.postgres["observatory"].allow == ("retention",)
    secrets = list(lab.plan.secrets_dir.iterdir())
    assert len(secrets) >= 11
    assert stat.S_IMODE(lab.plan.secrets_dir.stat().st_mode) == 0o700
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().strip() not in text + state_file(lab.directory).read_text()


def test_everything_listens_on_loopback_only(lab: Lab) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")  # IPv4 on a socket of both kinds
        for look in lab.status()
        if look.pid
        for member in [psutil.Process(look.pid), *psutil.Process(look.pid).children(recursive=True)]
        for connection in member.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_up_on_a_healthy_lab_changes_nothing_and_says_so(lab: Lab) -> None:
    before = {look.name: look.pid for look in lab.status()}
    done = cli("lab", "up", "--dir", str(lab.directory))
    assert "was running already" in done.stdout
    assert {look.name: look.pid for look in lab.status()} == before


def test_up_refuses_a_folder_that_holds_somebody_elses_inventory(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"holds inventory\.yaml and no lab"):
        Lab.up(tmp_path)
    assert take_down(tmp_path) is False
    assert (tmp_path / "inventory.yaml").read_text() == "mine"


def test_the_writer_keeps_writing_and_the_rows_stay_consistent(lab: Lab) -> None:
    before = ask(lab.plan, COUNT)[0]
    wait_for(lambda: ask(lab.plan, COUNT)[0] > before, "a new message", seconds=15)
    miscounted = (
        "SELECT count(*) FROM conversations c WHERE message_count <>"
        " (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id)"
    )
    assert ask(lab.plan, miscounted) == (0, "")


def test_two_labs_run_side_by_side_and_one_seed_gives_the_same_rows(make_lab: MakeLab) -> None:
    one = make_lab("one", services=("filer-sync", "postgres"), seed=7)
    two = make_lab("two", services=("filer-sync", "postgres"), seed=7)
    three = make_lab("three", services=("postgres",), seed=8)
    assert ask(one.plan, FINGERPRINT) == ask(two.plan, FINGERPRINT) != ask(three.plan, FINGERPRINT)
    client(one.plan, "us").put_object(Bucket=BUCKET, Key="only/one", Body=b"1")
    with pytest.raises(ClientError, match="NoSuchKey"):
        client(two.plan, "us").get_object(Bucket=BUCKET, Key="only/one")
    one.down()
    assert all(look.ok for look in two.status())


def test_a_killed_service_is_named_and_comes_back_with_its_data(make_lab: MakeLab) -> None:
    lab = make_lab(services=("writer", "us"))
    client(lab.plan, "us").put_object(Bucket=BUCKET, Key="kept", Body=b"bytes")
    rows = ask(lab.plan, COUNT)[0]
    for name in ("writer", "postgres", "us"):
        lab.kill_service(name)
        assert name in dead(lab)
        told = cli("lab", "status", "--dir", str(lab.directory), "--json", ok=(1,))
        document = json.loads(told.stdout)
        assert document["healthy"] is False
        assert {row["name"]: row["state"] for row in document["services"]}[name] == "dead"
    for name in ("us", "postgres", "writer"):
        lab.start_service(name)
    assert all(look.ok for look in lab.status())
    assert ask(lab.plan, COUNT)[0] >= rows
    assert client(lab.plan, "us").get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"bytes"


def test_a_frozen_service_is_silent_not_running(make_lab: MakeLab) -> None:
    lab = make_lab(services=("us",))
    pid = lab.pid("us")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    look = lab.status()[0]
    assert (look.state, look.ok) == ("silent", False)
    lab.down()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_pid_that_somebody_else_has_now_is_not_ours(make_lab: MakeLab) -> None:
    lab = make_lab(services=("postgres",))
    with process.spawn(["sleep", "60"]) as bystander:
        state = State.load(lab.directory)
        assert state is not None
        state.started("postgres", Identity(bystander.pid, time.time() - 3600)).save()
        lab.down()
        assert bystander.poll() is None


def test_filer_sync_carries_objects_and_survives_what_wedges_it(make_lab: MakeLab) -> None:
    lab = make_lab(services=("filer-sync",))
    source, copy = client(lab.plan, "us"), client(lab.plan, "eu", read_only=True)

    def arrived(key: str) -> bool:
        try:
            return copy.get_object(Bucket=BUCKET, Key=key)["Metadata"] == {"of": key}
        except ClientError:
            return False

    source.put_object(Bucket=BUCKET, Key="first", Body=b"1", Metadata={"of": "first"})
    wait_for(lambda: arrived("first"), "the first object in eu")

    lab.kill_service("eu")
    source.put_object(Bucket=BUCKET, Key="second", Body=b"2", Metadata={"of": "second"})
    lab.start_service("eu")
    wait_for(lambda: arrived("second"), "the object written while eu was down")

    supervisor = lab.pid("filer-sync")
    assert supervisor is not None
    psutil.Process(supervisor).children()[0].kill()
    source.put_object(Bucket=BUCKET, Key="third", Body=b"3", Metadata={"of": "third"})
    wait_for(lambda: arrived("third"), "the object written while filer.sync was dead")
    assert lab.pid("filer-sync") == supervisor


def test_the_read_only_identity_cannot_write(lab: Lab) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        client(lab.plan, "us", read_only=True).put_object(Bucket=BUCKET, Key="intruder", Body=b"x")


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "crashed-before-recording"])
def test_down_cleans_up_after_kill_9_of_up(tmp_path: Path, recorded: bool) -> None:
    directory = tmp_path / "lab"
    command = [sys.executable, "-P", "-m", "ccobs_ops.cli.main", "lab", "up", "--dir", str(directory)]
    environment = process.environment({"PYTHONPATH": str(ROOT)})

    def started() -> int:
        state = State.load(directory) if directory.is_dir() else None
        return len(state.processes) if state else 0

    try:
        with process.spawn(command, env=environment, tethered=False) as starting:
            wait_for(lambda: started() >= 3, "three services")
            os.kill(starting.pid, signal.SIGKILL)
            starting.wait(10)
        state = State.load(directory)
        assert state is not None
        assert not state.complete
        assert len(leftovers(MARK, str(directory), state.plan.home)) >= 3
        if not recorded:
            State(state.plan, {}).save()
        with pytest.raises(UsageError, match="is there already"):
            Lab.up(directory)
    finally:
        state = State.load(directory)
        take_down(directory)
    assert state is not None
    assert leftovers(MARK, str(directory), state.plan.home) == []
    assert not state.plan.home.exists()


def test_an_up_that_fails_shows_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(Reserved, "base", lambda *_: taken.getsockname()[1])
        with pytest.raises(StartError, match="Address already in use") as caught:
            Lab.up(tmp_path / "lab", services=("postgres",))
    assert str(tmp_path / "lab" / "logs" / "postgres.log") in caught.value.hint
    assert leftovers(MARK, str(tmp_path / "lab"), None) == []
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["logs"]


def test_promote_switches_the_timeline_for_real(make_lab: MakeLab) -> None:
    lab = make_lab(services=("writer",))
    rows = ask(lab.plan, COUNT)[0]
    assert lab.promote() == 2
    assert lab.promote() == 3
    with connect(lab.plan, role="postgres", database="postgres") as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    wait_for(lambda: ask(lab.plan, COUNT)[0] > rows, "the writer on the new timeline")


def test_a_lab_without_a_service_says_so(make_lab: MakeLab) -> None:
    lab = make_lab(services=("postgres",))
    with pytest.raises(UsageError, match="started without agent"):
        lab.stop_service("agent")
    with pytest.raises(OpsError, match="no service 'mysql'"):
        lab.stop_service("mysql")


def test_a_state_that_names_somebody_elses_folder_is_refused(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab(services=("us",))
    precious = tmp_path / "precious"
    precious.mkdir()
    whole = state_file(lab.directory).read_text()
    state_file(lab.directory).write_text(json.dumps(json.loads(whole) | {"home": str(precious)}))
    with pytest.raises(UsageError, match="is no folder of a lab"):
        take_down(lab.directory)
    assert precious.is_dir()
    state_file(lab.directory).write_text(whole)
