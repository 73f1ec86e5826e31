"""The lab works as root, as an ordinary account, and below folders that other accounts cannot enter."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ccobs_ops.core import process
from ccobs_ops.lab import plan, wheels
from ccobs_ops.lab.plan import MARK
from ccobs_ops.lab.processes import leftovers
from ccobs_ops.lab.state import State
from tests.lab_support import MakeLab

pytestmark = pytest.mark.lab

ROOT = Path(plan.__file__).parents[2]
IMPORTS = "import ccobs_ops.lab, psycopg, boto3, typer, yaml"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start things as another account")


@as_root
def test_below_a_private_folder_postgres_lives_elsewhere_and_goes_with_the_lab(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    lab = make_lab(services=("postgres",))
    assert not lab.plan.home.is_relative_to(lab.directory)
    assert lab.plan.home.parent == Path("/var/tmp")
    pid = lab.pid("postgres")
    assert pid is not None
    assert psutil.Process(pid).username() == "nobody"
    lab.down()
    assert not lab.plan.home.exists()


@as_root
def test_the_copy_of_the_programs_runs_where_the_originals_cannot_be_reached() -> None:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    nobody = process.User.named("nobody")
    try:
        copied = wheels.copy_postgres(wheels.postgres(), folder / "wheel")
        assert not wheels.can_run(copied / "postgres", nobody), "mkdtemp's 0700 must keep it out"
        folder.chmod(0o711)
        assert all(wheels.can_run(copied / name, nobody) for name in ("postgres", "initdb", "pg_basebackup"))
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def nobodys_python() -> Iterator[tuple[str, dict[str, str]]]:
    """An interpreter that nobody can run with everything we import, and the environment for it; else skip."""
    nobody = process.User.named("nobody")
    minor = f"python3.{sys.version_info.minor}"
    environment = process.environment(
        {"PYTHONPATH": os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))}, user=nobody
    )
    for candidate in (sys.executable, f"/usr/bin/{minor}", f"/usr/local/bin/{minor}"):
        try:
            for command in ([candidate, "-P", "-c", IMPORTS], [wheels.weed(), "version"]):
                process.run(command, deadline=30, env=environment, user=nobody)
        except process.ProcessError:
            continue
        yield candidate, environment
        return
    pytest.skip(f"no {minor} on this host that the account nobody can run with the project's packages")


@as_root
def test_an_ordinary_account_runs_the_whole_lab(nobodys_python: tuple[str, dict[str, str]]) -> None:
    python, environment = nobodys_python
    nobody = process.User.named("nobody")
    home = Path(tempfile.mkdtemp(dir="/var/tmp"))
    os.chown(home, nobody.uid, nobody.gid)
    directory = home / "lab"

    def lab(*words: str) -> process.Completed:
        command = [python, "-P", "-m", "ccobs_ops.cli.main", "lab", *words, "--dir", str(directory)]
        return process.run(command, deadline=120, env=environment, user=nobody)

    try:
        assert "up in" in lab("up", "--scale", "0.1").stdout
        state = State.load(directory)
        assert state is not None
        assert state.plan.run_as is None
        assert state.plan.home == directory / "postgres"
        running = leftovers(MARK, str(directory), state.plan.home)
        assert len(running) >= 6
        assert {one.username() for one in running} == {"nobody"}
        lab("status")
        for verb in ("backup", "validate"):
            command = [
                python,
                "-P",
                "-m",
                "ccobs_ops.cli.main",
                "--inventory",
                str(directory / "inventory.yaml"),
            ]
            done = process.run(
                [*command, "postgres", verb], deadline=120, env=environment, user=nobody, cwd=home
            )
            assert "PASSED" in done.stdout
        assert "is down" in lab("down").stdout
        assert leftovers(MARK, str(directory), state.plan.home) == []
    finally:
        process.run(
            [sys.executable, "-P", "-m", "ccobs_ops.cli.main", "lab", "down", "--dir", str(directory)],
            deadline=60,
            env=process.environment({"PYTHONPATH": str(ROOT)}),
        )
        shutil.rmtree(home)
