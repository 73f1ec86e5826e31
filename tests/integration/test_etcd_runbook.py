"""docs/runbooks/etcd.md, its commands run word for word on the lab's three members."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ccobs_ops.core import process
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.lab import wheels
from ccobs_ops.lab.plan import ETCD_MEMBERS
from ccobs_ops.lab.services import etcd as service
from tests.etcd_support import EtcdEstate, etcd_estate_in

PAGE = Path(__file__).parents[2] / "docs" / "runbooks" / "etcd.md"


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[EtcdEstate]:
    with etcd_estate_in(tmp_path / "lab", "us", "etcd-writer", "etcd-agent") as made:
        yield made


def block(name: str) -> str:
    """The shell block of the page that is marked `run: NAME`."""
    found = re.search(rf"<!-- run: {name} -->\n\s*```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, f"{PAGE} has no block {name}"
    return found[1]


def run(estate: EtcdEstate, text: str, **variables: str) -> str:
    """Run a block as an operator does, with the lab's endpoints and certificates in the environment."""
    plan = estate.lab.plan
    env = {
        "PATH": f"{wheels.etcd()}:{os.environ['PATH']}",
        "ETCDCTL_CACERT": str(plan.secret_file("etcd_ca.crt")),
        "ETCDCTL_CERT": str(plan.secret_file("etcd_client.crt")),
        "ETCDCTL_KEY": str(plan.secret_file("etcd_client.key")),
        "ETCDCTL_ENDPOINTS": ",".join(plan.etcd_url(name) for name in ETCD_MEMBERS),
    } | variables
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def awaited(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)


def healthy(estate: EtcdEstate) -> bool:
    return estate.health().verdict is Verdict.PASSED


def started(estate: EtcdEstate, name: str, *more: str):
    """The member `name` with the lab's own command line and `more`."""
    plan = estate.lab.plan
    flags = {
        "name": name,
        "data-dir": plan.etcd_home / name,
        "listen-client-urls": plan.etcd_url(name),
        "advertise-client-urls": plan.etcd_url(name),
        "listen-peer-urls": plan.etcd_url(name, peer=True),
        "initial-advertise-peer-urls": plan.etcd_url(name, peer=True),
        "initial-cluster": ",".join(f"{each}={plan.etcd_url(each, peer=True)}" for each in ETCD_MEMBERS),
        **service.tls_flags(plan, name),
    }
    argv = [f"--{key}={value}" for key, value in flags.items()]
    return process.spawn(
        [
            wheels.etcd() / "etcd",
            *argv,
            "--client-cert-auth",
            "--peer-client-cert-auth",
            "--log-level=warn",
            *more,
        ],
        env=plan.environment({}),
    )


def test_what_the_page_says_is_tried(estate: EtcdEstate) -> None:
    plan = estate.lab.plan
    lost = ETCD_MEMBERS[1]

    # no space: the alarm is on, writes are refused, and the page's commands end that
    estate.lab.break_("etcd-nospace")
    assert {"alarm_nospace"} <= {finding.code for finding in estate.health().findings}
    run(estate, block("no-space"))
    assert not [finding for finding in estate.health().findings if finding.code == "alarm_nospace"]

    # lost member: its disk is gone, an empty one takes its place
    estate.lab.kill_service(lost)
    shutil.rmtree(plan.etcd_home / lost)
    assert estate.health().claim("quorum").verdict is Verdict.PASSED  # pyright: ignore[reportOptionalMemberAccess]
    others = ",".join(plan.etcd_url(name) for name in ETCD_MEMBERS if name != lost)
    said = run(
        estate,
        block("lost-member"),
        MEMBER=lost,
        PEER_URL=plan.etcd_url(lost, peer=True),
        ETCDCTL_ENDPOINTS=others,
    )
    assert 'ETCD_INITIAL_CLUSTER_STATE="existing"' in said
    with started(estate, lost, "--initial-cluster-state=existing"):
        awaited(lambda: healthy(estate), "the new member to catch up")
        assert len(estate.client(lost).members()) == 3
        before = estate.client(lost).range(b"/registry/", b"/registry0", count_only=True).count

        # lost quorum: two disks are gone, the one that is left becomes a cluster of its own
        for name in ETCD_MEMBERS:
            if name != lost:
                estate.lab.kill_service(name)
                shutil.rmtree(plan.etcd_home / name)
        assert {"quorum_lost"} <= {finding.code for finding in estate.health().findings}
    shutil.copytree(plan.etcd_home / lost, plan.etcd_home / "kept")
    with started(estate, lost, "--force-new-cluster"):
        mine = plan.etcd_url(lost)
        awaited(lambda: _answers(estate, lost), "the member that is left")
        said = run(estate, block("lost-quorum"), ETCDCTL_ENDPOINTS=mine)
        assert said.count(" started ") == 1
        client = estate.client(lost)
        assert client.range(b"/registry/", b"/registry0", count_only=True).count >= before - 200
        client.put(b"/ccobs/trial", b"written")


def _answers(estate: EtcdEstate, name: str) -> bool:
    from ccobs_ops.core.errors import OpsError

    try:
        return bool(estate.client(name).status().leader)
    except OpsError:
        return False
