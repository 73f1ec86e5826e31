"""`access: kubernetes` against a fake API server that speaks the real protocol, and a real etcd behind it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.etcd.access import CompactedError, EndpointError
from ccobs_ops.core.etcd.access_kubernetes import KubernetesAccess
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.inventory_load import load
from tests.etcd_single import PROGRAMS, SingleEtcd, single_etcd
from tests.kubernetes_fake import FakeKubernetes, Pod

ETCDCTL = [str(PROGRAMS / "etcdctl")]
PLAIN = {"etcdctl": ETCDCTL, "cat": ["cat"], "rm": ["rm"]}
KUBEADM = {"etcdctl": ETCDCTL, "cp": ["cp"], "sh": ["bash"]}
"""registry.k8s.io/etcd has a static shell and cp, and neither cat nor rm."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleEtcd]:
    with single_etcd(tmp_path_factory.mktemp("etcd")) as made:
        for number in range(40):
            made.etcdctl("put", f"/registry/configmaps/default/c-{number}", stdin="x" * 60_000)
        yield made


class Site:
    """A fake cluster with one etcd pod, and its access."""

    def __init__(self, folder: Path, etcd: SingleEtcd) -> None:
        self.folder, self.etcd = folder, etcd
        self.work = folder / "work"
        self.work.mkdir()
        self.paths = {
            "https://127.0.0.1:2379": etcd.url,
            "/etc/kubernetes/pki/etcd": str(etcd.pki),
            "/tmp/ccobs-ops": f"{self.work}/ccobs-ops",
            "/ccobs/": f"{self.work}/",
        }
        self.pod = Pod("etcd-cp-1", programs=dict(PLAIN), paths=self.paths)
        self.fake = FakeKubernetes([self.pod])
        self.fake.faults.job_pod = Pod(
            "job", programs={"etcdctl": ETCDCTL, "/ccobs/busybox": ["env"]}, paths=self.paths
        )
        self.kubeconfig = Path()

    def cluster(self, **more: str) -> EtcdCluster:
        """The cluster as an inventory names it."""
        said = {"kubeconfig": str(self.kubeconfig)} | more
        lines = "\n".join(f'      {key}: "{value}"' for key, value in said.items())
        path = self.folder / "inventory.yaml"
        path.write_text(
            f"version: 1\nenvironment: lab\nstores:\n  us: {{bucket: backups}}\netcd:\n  prod:\n    access: kubernetes\n"
            f"    store: us\n    timeout: 5s\n    kubernetes:\n{lines}\n"
        )
        return EtcdCluster(load(path), "prod")

    def access(self, **more: str) -> KubernetesAccess:
        return KubernetesAccess(self.cluster(**more))

    @property
    def left(self) -> list[int]:
        """Sizes of what is left in the containers."""
        return sorted(path.stat().st_size for path in self.work.iterdir())


@pytest.fixture
def site(tmp_path: Path, etcd: SingleEtcd) -> Iterator[Site]:
    made = Site(tmp_path, etcd)
    with made.fake.serving(tmp_path) as kubeconfig:
        made.kubeconfig = kubeconfig
        yield made


def whole(access: KubernetesAccess) -> bytes:
    """A snapshot, all of it."""
    [status] = access.look().answered
    with access.snapshot(status.endpoint, 60) as blocks:
        return b"".join(bytes(block) for block in blocks)


def intact(data: bytes) -> bool:
    return len(data) > 1024 and hashlib.sha256(data[:-32]).digest() == data[-32:]


@pytest.mark.parametrize("method", ["exec", "job"])
def test_everything_that_is_asked_of_a_cluster_is_answered(site: Site, method: str) -> None:
    with site.access(method=method) as access:
        view = access.look()
        assert view.silent == ()
        [status] = view.answered
        [member] = view.members
        assert (status.endpoint, member.name, status.is_leader) == (site.etcd.url, "cp-1", True)
        assert access.count(status.endpoint, "/registry/", status.revision) == 40
        assert access.count(status.endpoint, "/registry/", 11) == 10
        same = access.hash_kv(status.endpoint, status.revision)
        assert same == access.hash_kv(status.endpoint, status.revision)
        assert same.hash != access.hash_kv(status.endpoint, 20).hash
        assert access.alarms(status.endpoint) == ()
        access.defragment(status.endpoint, 30)


@pytest.mark.parametrize("v5", [False, True])
@pytest.mark.parametrize("method", ["exec", "job"])
def test_a_snapshot_comes_out_whole_and_nothing_is_left(site: Site, method: str, v5: bool) -> None:
    site.fake.faults.v5 = v5
    with site.access(method=method) as access:
        data = whole(access)
    assert intact(data)
    assert site.left == []
    assert site.fake.jobs == {}
    assert list(site.fake.pods) == [("kube-system", "etcd-cp-1")]


def test_kubeadms_own_image_without_cat_and_rm_is_enough(site: Site) -> None:
    site.pod.programs = dict(KUBEADM)
    with site.access() as access:
        assert intact(whole(access))
    assert set(site.left) <= {0}


def test_an_image_with_etcdctl_alone_is_sent_to_the_job(site: Site) -> None:
    site.pod.programs = {"etcdctl": ETCDCTL}
    with site.access() as access, pytest.raises(UnknownError, match="neither cat nor cp") as told:
        whole(access)
    assert "method: job" in told.value.hint


def test_the_jobs_pod_asks_for_what_it_needs_and_no_more(site: Site) -> None:
    with site.access(method="job") as access:
        access.look()
        [body] = site.fake.jobs.values()
    spec = body["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert container["image"] == "registry.k8s.io/etcd:3.5.1-0"
    assert spec["nodeSelector"] == {"node-role.kubernetes.io/control-plane": ""}
    assert spec["hostNetwork"] is True
    assert spec["automountServiceAccountToken"] is False
    assert all(mount["readOnly"] for mount in container["volumeMounts"] if mount["mountPath"] != "/ccobs")
    assert [volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume] == [
        "/etc/kubernetes/pki/etcd"
    ]
    assert body["spec"]["activeDeadlineSeconds"] > 0
    assert body["spec"]["ttlSecondsAfterFinished"] == 60


@pytest.mark.parametrize("method", ["exec", "job"])
def test_a_stream_that_breaks_off_is_never_taken_for_a_whole_one(site: Site, method: str) -> None:
    site.fake.faults.cut_after = 700_000
    with site.access(method=method) as access, pytest.raises(UnknownError, match=r"broke off|ended before"):
        whole(access)
    assert site.left == []
    assert site.fake.jobs == {}


def test_a_program_that_never_tells_how_it_ended_is_unknown(site: Site) -> None:
    with site.access() as access:
        [status] = access.look().answered
        site.fake.faults.no_status = True
        with (
            pytest.raises(UnknownError, match=r"ended before \w+ told"),
            access.snapshot(status.endpoint, 30),
        ):
            pass


def refused(site: Site, break_it: Callable[[], Any], **config: str) -> OpsError:
    """The error that a snapshot ends with once `break_it` was called."""
    break_it()
    with pytest.raises(OpsError) as told, site.access(**config) as access:
        view = access.look()
        if view.silent:
            raise UnknownError(view.silent[0].reason, hint=view.silent[0].hint)
    return told.value


def test_a_token_that_is_not_known_is_named(site: Site) -> None:
    error = refused(site, lambda: setattr(site.fake, "token", "another"))
    assert "401" in error.message
    assert "kubeconfig" in error.hint
    assert "a-token-of-this-test" not in str(error)


@pytest.mark.parametrize("verb", ["list pods", "exec", "create jobs"])
def test_a_right_that_is_missing_is_named_with_the_role_to_grant(site: Site, verb: str) -> None:
    error = refused(site, lambda: site.fake.faults.forbidden.add(verb), method="job")
    assert "403" in error.message
    assert "deploy/" in error.hint
    assert site.fake.jobs == {}


def test_no_etcd_pod_is_said_with_the_command_to_look(site: Site) -> None:
    error = refused(site, lambda: None, selector="component=etcd,tier=elsewhere")
    assert "no etcd pod runs in kube-system" in error.message
    assert "kubectl get pods" in error.hint


def test_a_pod_that_does_not_run_is_not_asked(site: Site) -> None:
    error = refused(site, lambda: setattr(site.pod, "phase", "Pending"))
    assert "etcd-cp-1 Pending" in error.message
    assert site.fake.ran == []


def test_an_image_that_cannot_be_pulled_is_the_clusters_own_reason(site: Site) -> None:
    stuck = Pod("job", phase="Pending", waiting=("ImagePullBackOff", "back-off pulling image busybox"))
    error = refused(site, lambda: setattr(site.fake.faults, "job_pod", stuck), method="job")
    assert "ImagePullBackOff: back-off pulling image busybox" in error.message
    assert site.fake.jobs == {}


def test_a_pod_that_is_never_scheduled_ends_at_the_deadline(site: Site) -> None:
    stuck = Pod("job", phase="Pending")
    error = refused(
        site, lambda: setattr(site.fake.faults, "job_pod", stuck), method="job", start_timeout="1s"
    )
    assert "did not run within 1 s" in error.message
    assert site.fake.jobs == {}


def test_a_handshake_that_hangs_has_a_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccobs_ops.core.etcd.kubernetes_api.CONNECT_SECONDS", 1.0)
    error = refused(site, lambda: setattr(site.fake.faults, "hang", True))
    assert "did not begin to run etcdctl" in error.message


def test_an_api_server_that_is_gone_is_named(site: Site, tmp_path: Path) -> None:
    text = site.kubeconfig.read_text().replace(site.fake.url, "https://127.0.0.1:9")
    site.kubeconfig.write_text(text)
    error = refused(site, lambda: None)
    assert "https://127.0.0.1:9 does not answer" in error.message


@pytest.mark.parametrize("text", ["", "clusters: 7", "[]", "current-context: lab\ncontexts: []"])
def test_a_kubeconfig_that_is_none_is_wrong_usage(site: Site, text: str) -> None:
    site.kubeconfig.write_text(text)
    with pytest.raises(UsageError, match="cannot be used"), site.access():
        pass


def test_a_member_that_does_not_answer_is_named_with_its_endpoint(site: Site) -> None:
    site.paths["https://127.0.0.1:2379"] = "https://127.0.0.1:9"
    error = refused(site, lambda: None)
    assert "https://127.0.0.1:2379" in error.message
    assert "refused" in error.message


def test_a_certificate_of_another_authority_is_named(site: Site, tmp_path: Path) -> None:
    from tests.certificates import self_signed

    other = tmp_path / "other"
    other.mkdir()
    certificate, _ = self_signed(other, "healthcheck-client")
    certificate.rename(other / "ca.crt")
    self_signed(other, "healthcheck-client")
    site.paths["/etc/kubernetes/pki/etcd"] = str(other)
    error = refused(site, lambda: None)
    assert "unknown authority" in error.message


def test_a_revision_that_is_compacted_away_is_told_apart(site: Site) -> None:
    site.etcd.etcdctl("put", "/registry/x", "1")
    site.etcd.etcdctl("compact", "5")
    with site.access() as access:
        [status] = access.look().answered
        with pytest.raises(CompactedError):
            access.hash_kv(status.endpoint, 3)
        with pytest.raises(EndpointError, match="future revision"):
            access.count(status.endpoint, "/registry/", 10_000_000)


def test_the_pods_job_goes_also_when_we_are_interrupted(site: Site) -> None:
    with pytest.raises(KeyboardInterrupt), site.access(method="job") as access:
        access.look()
        assert len(site.fake.jobs) == 1
        raise KeyboardInterrupt
    assert site.fake.jobs == {}


def test_a_stream_of_any_length_needs_little_memory(site: Site) -> None:
    size = 300 * 1024 * 1024
    site.pod.programs["cat"] = ["bash", "-c", f"head -c {size} /dev/zero"]
    peak, stop = [0], threading.Event()
    me = psutil.Process(os.getpid())

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], me.memory_info().rss)

    with site.access() as access:
        [status] = access.look().answered
        watcher = threading.Thread(target=watch)
        before = me.memory_info().rss
        watcher.start()
        try:
            with access.snapshot(status.endpoint, 120) as blocks:
                assert sum(len(block) for block in blocks) == size
        finally:
            stop.set()
            watcher.join()
    # the fake API server, which runs in this process too, is in this figure
    assert peak[0] - before < 96 * 1024 * 1024
