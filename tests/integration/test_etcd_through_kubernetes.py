"""A whole snapshot and its drill through a fake API server: three real members, real S3, the same functions as directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest

from ccobs_ops.core.etcd.layout import folder_key
from ccobs_ops.core.etcd.objects import count_resources
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.inventory_etcd_kubernetes import EtcdKubernetes, EtcdMaterial
from ccobs_ops.lab import wheels
from ccobs_ops.lab.plan import ETCD_MEMBERS
from tests.etcd_support import EtcdEstate, etcd_estate_in
from tests.kubernetes_fake import FakeKubernetes, Pod

KUBEADM = {"cp": ["cp"], "sh": ["bash"]}


@dataclass
class Site:
    estate: EtcdEstate
    fake: FakeKubernetes
    kubeconfig: Path
    work: Path

    def reached(self, method: str, **changes: Any) -> EtcdEstate:
        """The lab's estate, reached through the fake."""
        way = EtcdKubernetes(method=method, kubeconfig=str(self.kubeconfig))  # pyright: ignore[reportArgumentType]
        return self.estate.changed(access="kubernetes", kubernetes=way, endpoints=(), **changes)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("kubernetes")
    with etcd_estate_in(folder / "lab", "us", "etcd-writer", "etcd-agent") as estate:
        plan = estate.lab.plan
        pki, work = folder / "pki", folder / "work"
        pki.mkdir()
        work.mkdir()
        for name, source in (
            ("ca.crt", "etcd_ca.crt"),
            ("healthcheck-client.crt", "etcd_client.crt"),
            ("healthcheck-client.key", "etcd_client.key"),
        ):
            (pki / name).write_bytes(plan.secret_file(source).read_bytes())
        etcdctl = [str(wheels.etcd() / "etcdctl")]

        def paths(member: str) -> dict[str, str]:
            return {
                "https://127.0.0.1:2379": plan.etcd_url(member),
                "/etc/kubernetes/pki/etcd": str(pki),
                "/tmp/ccobs-ops": f"{work}/ccobs-ops",
                "/ccobs/": f"{work}/",
            }

        pods = [
            Pod(f"etcd-{member}", node=member, programs={"etcdctl": etcdctl, **KUBEADM}, paths=paths(member))
            for member in ETCD_MEMBERS
        ]
        fake = FakeKubernetes(pods)
        fake.faults.job_pod = Pod(
            "job", programs={"etcdctl": etcdctl, "/ccobs/busybox": ["env"]}, paths=paths(ETCD_MEMBERS[0])
        )
        with fake.serving(folder) as kubeconfig:
            yield Site(estate, fake, kubeconfig, work)


@pytest.mark.parametrize("method", ["exec", "job"])
def test_a_snapshot_is_taken_and_drilled_as_directly(site: Site, method: str) -> None:
    estate = site.reached(method)
    taken = estate.snapshot()
    assert taken.verdict is Verdict.PASSED, taken.to_json()
    leader = site.estate.health().details["leader"]
    assert taken.details["member"] != leader
    assert taken.details["hash"] is not None
    drilled = estate.drill(snapshot=taken.details["snapshot_id"])
    assert drilled.claim("identical").verdict is Verdict.PASSED, drilled.to_json()  # pyright: ignore[reportOptionalMemberAccess]
    assert drilled.verdict is Verdict.PASSED, drilled.to_json()
    assert site.fake.jobs == {}
    assert all(path.stat().st_size == 0 for path in site.work.iterdir())


def test_a_snapshot_is_written_in_the_pod_of_its_own_member(site: Site) -> None:
    with site.reached("exec").cluster.access() as access:
        view = access.look()
        assert len(view.answered) == 3
        for status in view.answered:
            site.fake.asked.clear()
            site.fake.ran.clear()
            with access.snapshot(status.endpoint, 60) as blocks:
                assert sum(len(block) for block in blocks) > status.db_in_use_bytes
            where = [path for path in site.fake.asked if path.startswith("exec")]
            assert all(f"/pods/etcd-{view.name_of(status.member_id)}/exec" in path for path in where), where
            assert any("save" in argv for argv in site.fake.ran)


def test_health_through_kubernetes_says_the_same(site: Site) -> None:
    directly, through = site.estate.health(), site.reached("exec").health()
    assert through.verdict is Verdict.PASSED, through.to_json()
    assert {claim.name for claim in through.claims} == {claim.name for claim in directly.claims}
    assert through.details["leader"] == directly.details["leader"]


def test_a_pod_whose_stream_breaks_gives_its_turn_to_another_member(site: Site) -> None:
    site.fake.faults.cut_after = 100_000
    before = {entry.id for entry in site.estate.entries}
    try:
        taken = site.reached("exec").snapshot()
    finally:
        site.fake.faults.cut_after = None
    assert taken.verdict is Verdict.UNKNOWN
    assert {finding.code for finding in taken.findings} >= {"member_failed", "not_checked"}
    assert {entry.id for entry in site.estate.entries} == before
    parts = list(site.estate.archive.store.list(site.estate.archive.key("snapshots/")))
    assert {item.key.split("/")[-2] for item in parts} == before


def test_material_is_stored_with_the_snapshot_and_goes_with_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.key").write_text("private")
    public = str(pyrage.x25519.Identity.generate().to_public())
    wanted = EtcdMaterial(paths=(str(tmp_path / "pki"),), age=(public,))
    estate = site.reached("exec", material=wanted)
    taken = estate.snapshot()
    assert taken.claim("material").verdict is Verdict.PASSED, taken.to_json()  # pyright: ignore[reportOptionalMemberAccess]
    archive = estate.archive
    held = {
        item.key.rsplit("/", 1)[-1]
        for item in archive.store.list(archive.key(folder_key(taken.details["snapshot_id"])))
    }
    assert {"material.json", "material.tar.zst.age"} <= held
    gone = site.reached("exec", material=wanted.model_copy(update={"paths": (str(tmp_path / "none"),)}))
    without = gone.snapshot()
    assert without.verdict is Verdict.UNKNOWN
    assert without.claim("complete").verdict is Verdict.PASSED  # pyright: ignore[reportOptionalMemberAccess]
    assert without.claim("material").verdict is Verdict.UNKNOWN  # pyright: ignore[reportOptionalMemberAccess]
    assert without.details["snapshot_id"] in {entry.id for entry in estate.entries}


def test_counting_objects_agrees_with_the_cluster(site: Site) -> None:
    from ccobs_ops.core.etcd.proof import _Ranger

    client = site.estate.client()
    counts = count_resources(_Ranger(client), revision=client.status().revision)
    assert counts["secrets"] == 90
    assert counts["nodes"] == 10
