"""A scan that is killed at any moment leaves no provider, no plan file, no lock and no var file behind.

Here Terraform starts the provider itself, as it does with every real one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.lab.plan import STATE_BUCKET
from ccobs_ops.lab.s3 import client
from tests.postgres_support import wait_for
from tests.terraform_support import Roots, classes, codes, roots_in, why

pytestmark = pytest.mark.lab
ROUNDS = int(os.environ.get("CCOBS_SWEEP", "4"))


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    with roots_in(tmp_path_factory.mktemp("kill") / "lab") as found:
        yield found.with_root(account=None).as_plugin()


@pytest.fixture(scope="module")
def inventory(roots: Roots) -> Iterator[Path]:
    """The lab's inventory in which Terraform starts the provider, and locks the state."""
    document = yaml.safe_load(roots.lab.inventory_path.read_text())
    for root in document["terraform"].values():
        del root["environment"]["TF_REATTACH_PROVIDERS"]
        root.pop("account", None)
        root["lock"] = True
    path = roots.lab.directory / "faults.yaml"
    path.write_text(yaml.safe_dump(document))
    yield path
    path.unlink()


def test_a_plugin_is_started_by_terraform_and_sees_the_same(roots: Roots) -> None:
    found = roots.scan()
    assert found.verdict is Verdict.PASSED, why(found)
    assert found.measurements["objects_managed"] == 5


def test_a_provider_that_crashes_is_unknown_and_the_next_scan_is_not(roots: Roots) -> None:
    (roots.lab.plan.state_dir / "terraform" / "provider.crash").touch()
    try:
        found = roots.scan("staging")
    finally:
        (roots.lab.plan.state_dir / "terraform" / "provider.crash").unlink()
    assert found.verdict is Verdict.UNKNOWN, why(found)
    assert "provider_failed" in codes(found), why(found)
    after = roots.scan("staging")
    assert after.verdict is Verdict.PASSED, why(after)
    assert classes(after) == {}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for the unix sockets of plugins (107 bytes), as pytest's does not."""
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_nothing_is_left_behind(
    roots: Roots, inventory: Path, short_folder: Path, number: signal.Signals
) -> None:
    rng = random.Random(int(number))
    for _ in range(max(1, ROUNDS // 2)):
        temporary = short_folder / f"t{rng.randrange(1 << 30)}"
        temporary.mkdir()
        seconds = _killed_scan(roots, inventory, temporary, number, rng)
        _await_end(roots, temporary, seconds)
        held = client(roots.lab.plan, "us").list_objects_v2(Bucket=STATE_BUCKET).get("Contents", ())
        assert not [row["Key"] for row in held if row["Key"].endswith(".tflock")], seconds
        if number == signal.SIGKILL:  # nobody was left to tidy: the next scan does
            assert not _secrets_below(roots, temporary), seconds
        again = _scan(inventory, temporary)
        said = again.communicate(timeout=120)[0]
        assert again.returncode == 0, said.decode()
        left = [path for path in temporary.rglob("*") if path.is_file() or path.is_socket()]
        assert not left, (seconds, left)
        assert not list((roots.lab.directory / "terraform").rglob("*.tfplan"))


def _scan(inventory: Path, temporary: Path) -> subprocess.Popen[bytes]:
    command = ("-m", "ccobs_ops.cli.main", "--inventory", str(inventory), "terraform", "scan", "staging")
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _killed_scan(
    roots: Roots, inventory: Path, temporary: Path, number: signal.Signals, rng: random.Random
) -> float:
    """Start a scan, wait until Terraform runs, and a random moment longer, then kill it; returns the moment."""
    process = _scan(inventory, temporary)
    deadline = time.monotonic() + 60
    while process.poll() is None and not _descendants(roots, temporary) and time.monotonic() < deadline:
        time.sleep(0.01)
    after = rng.uniform(0, 2.5)
    time.sleep(after)
    process.send_signal(number)
    process.wait(60)
    return after


def _await_end(roots: Roots, temporary: Path, seconds: float) -> None:
    wait_for(
        lambda: not _descendants(roots, temporary), 60, f"Terraform to end, killed after {seconds:.2f} s"
    )


def _descendants(roots: Roots, temporary: Path) -> list[psutil.Process]:
    """Living processes of a scan: Terraform, and the providers that it started."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            ours = str(temporary) in env.get("TMPDIR", "") and "TF_DATA_DIR" in env
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _secrets_below(roots: Roots, temporary: Path) -> list[Path]:
    """Files with anything of a state, a plan or a variable in them."""
    words = [roots.lab.plan.secret("escrow_key").encode(), b"tfstate", b"planned_values"]
    return [
        path
        for path in temporary.rglob("*")
        if path.is_file() and any(word in path.read_bytes() for word in words)
    ]
