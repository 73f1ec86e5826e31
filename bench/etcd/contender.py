"""What is measured: our command line, etcdctl alone, and the same work by hand with etcd's own programs."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from dataclasses import dataclass, field
from typing import Any

from bench.etcd.estate import ROOT, Estate
from bench.postgres.measure import Usage, measure
from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.plan import BUCKET

KEY = "by-hand/snapshot.db.zst"
REVISION = "by-hand.revision"


@dataclass(frozen=True, slots=True)
class Result:
    """One run: what it cost, and its phases in seconds."""

    usage: Usage
    details: dict[str, Any] = field(default_factory=dict)


def ours_snapshot(estate: Estate) -> Result:
    """`etcd snapshot`: streamed, checked, compressed, stored, read back, hashed and counted."""
    return _ours(estate, "snapshot")


def ours_drill(estate: Estate) -> Result:
    """`etcd drill`: downloaded, checked, restored, started, all claims proven, torn down."""
    return _ours(estate, "drill")


def etcdctl_snapshot(estate: Estate) -> Result:
    """`etcdctl snapshot save` to this host's disk, and nothing else."""
    path = estate.scratch / "alone.db"
    path.unlink(missing_ok=True)
    return _shell(estate, f"'{estate.tool('etcdctl')}' --endpoints={estate.url} snapshot save '{path}'")


def hand_snapshot(estate: Estate) -> Result:
    """`etcdctl snapshot save`, zstd on all cores, multipart upload."""
    if shutil.which("zstd") is None:
        raise OpsError("the program zstd is not installed", hint="apt-get install -y zstd")
    path = estate.scratch / "hand.db"
    with estate.client() as client:
        (estate.scratch / REVISION).write_text(str(client.status().revision))
    script = (
        'set -eo pipefail; now() { echo "$1 $(date +%s.%N)"; }; now begin\n'
        f"'{estate.tool('etcdctl')}' --endpoints={estate.url} snapshot save '{path}' >&2; now save\n"
        f"zstd -q -T0 -3 -c '{path}' | '{sys.executable}' -m bench.postgres.transfer put {KEY}; now store\n"
        f"rm '{path}'"
    )
    return _shell(estate, script)


def hand_drill(estate: Estate) -> Result:
    """Download, zstd -d, `etcdutl snapshot restore`, start, wait, HashKV of both, count, write, stop, remove."""
    folder = estate.scratch / "drill"
    shutil.rmtree(folder, ignore_errors=True)
    revision = (estate.scratch / REVISION).read_text()
    ctl = f"'{estate.tool('etcdctl')}' --endpoints=unix://client:1"
    script = (
        'set -eo pipefail; now() { echo "$1 $(date +%s.%N)"; }; now begin\n'
        f"mkdir -m 700 '{folder}'; cd '{folder}'\n"
        f"(cd '{ROOT}'; '{sys.executable}' -m bench.postgres.transfer get {KEY}) | zstd -q -d -c > snapshot.db; now fetch\n"
        f"'{estate.tool('etcdutl')}' snapshot restore snapshot.db --data-dir=data --name=copy"
        " --initial-cluster=copy=unix://peer:1 --initial-advertise-peer-urls=unix://peer:1 >&2; now restore\n"
        f"'{estate.tool('etcd')}' --name=copy --data-dir=data --listen-client-urls=unix://client:1"
        " --advertise-client-urls=unix://client:1 --listen-peer-urls=unix://peer:1"
        f" --initial-advertise-peer-urls=unix://peer:1 --initial-cluster=copy=unix://peer:1"
        " --quota-backend-bytes=8589934592 --log-level=error >&2 & etcd=$!\n"
        "trap 'kill -9 $etcd' EXIT\n"
        f"until {ctl} --dial-timeout=1s --command-timeout=2s endpoint health >/dev/null 2>&1; do sleep 0.02; done\n"
        "now start\n"
        f"{ctl} endpoint hashkv --rev={revision} >&2\n"
        f"'{estate.tool('etcdctl')}' --endpoints={estate.url} endpoint hashkv --rev={revision} >&2\n"
        f"{ctl} get --prefix / --count-only --write-out=fields >&2\n"
        f"{ctl} put /trial written >&2; {ctl} get /trial >&2; now verify\n"
        f"kill -9 $etcd; cd /; rm -rf '{folder}'; trap - EXIT; now remove"
    )
    return _shell(estate, script)


def _ours(estate: Estate, verb: str) -> Result:
    done = measure(
        estate.ops("etcd", verb, "--json"),
        scratch=estate.scratch,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        servers=estate.servers_cpu,
    )
    exercise = json.loads(done.stdout)
    details = {
        "phases": {phase["name"]: phase["seconds"] for phase in exercise["phases"]},
        "claims": {claim["name"]: claim["verdict"] for claim in exercise["claims"]},
        "measurements": exercise["measurements"],
        "identical": next((c["reason"] for c in exercise["claims"] if c["name"] == "identical"), ""),
    }
    return Result(done.usage, details)


def _shell(estate: Estate, script: str) -> Result:
    env = {"PYTHONPATH": str(ROOT), "BENCH_ENDPOINT": estate.endpoint, "BENCH_BUCKET": BUCKET}
    done = measure(
        ["bash", "-c", script],
        scratch=estate.scratch,
        cwd=ROOT,
        env=env | estate.aws(),
        servers=estate.servers_cpu,
    )
    lines = done.stdout.splitlines() if done.stdout.startswith("begin ") else []
    marks = [(word, float(at)) for word, at in (line.split() for line in lines)]
    phases = {name: at - before for (_, before), (name, at) in itertools.pairwise(marks)}
    return Result(done.usage, {"phases": phases})
