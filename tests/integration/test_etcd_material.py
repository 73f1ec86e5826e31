"""The control plane's files: collected, encrypted, stored beside a snapshot, opened again; never in clear anywhere.

KMS is moto's, since nothing here serves it; S3 is a lab's region.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError, UsageError
from ccobs_ops.core.etcd import layout, material
from ccobs_ops.core.etcd.archive import Archive
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.material_restore import restore_material
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_etcd import Etcd
from ccobs_ops.inventory_etcd_kubernetes import EtcdKubernetes, EtcdMaterial
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from tests.kubernetes_fake import FakeKubernetes, Pod
from tests.lab_support import take_down_and_check
from tests.unit.catalogues import snapshot

SECRET = "the-private-key-of-this-authority"
FOLDER = "snapshots/20261123T020000Z-abcd/"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    directory = tmp_path_factory.mktemp("material") / "lab"
    try:
        inventory = load(Lab.up(directory, services=["us"]).inventory_path)
        target = Etcd(endpoints=("https://10.0.0.1:2379",), store="us")
        inventory = inventory.model_copy(update={"etcd": {"control": target}})
        with Ledger.of(inventory) as ledger:
            yield Context(inventory, ledger)
    finally:
        take_down_and_check(directory)


class Site:
    """A node's files, and a cluster whose archive has a prefix of its own."""

    def __init__(self, context: Context, tmp_path: Path) -> None:
        self.host = tmp_path / "etc" / "kubernetes"
        (self.host / "pki" / "etcd").mkdir(parents=True)
        (self.host / "manifests").mkdir()
        (self.host / "pki" / "ca.key").write_text(SECRET)
        (self.host / "pki" / "ca.key").chmod(0o600)
        (self.host / "pki" / "etcd" / "ca.crt").write_text("a certificate")
        (self.host / "manifests" / "etcd.yaml").write_text("kind: Pod")
        self.context = context
        self.prefix = f"etcd/{tmp_path.name}"
        self.paths = (str(self.host / "pki"), str(self.host / "manifests"))

    def cluster(self, kubernetes: EtcdKubernetes | None = None, **settings: Any) -> EtcdCluster:
        """The cluster with `material` set so."""
        wanted = EtcdMaterial(**({"paths": self.paths} | settings)) if settings else None
        changed = self.context.inventory.etcd["control"].model_copy(
            update={"material": wanted, "prefix": self.prefix, "kubernetes": kubernetes}
        )
        inventory = self.context.inventory.model_copy(update={"etcd": {"control": changed}})
        self.context = replace(self.context, inventory=inventory)
        return EtcdCluster(inventory, "control")

    def archive(self, cluster: EtcdCluster) -> Archive:
        return Archive(cluster.store(), cluster.prefix)

    def collect(self, cluster: EtcdCluster) -> material.Sealed:
        found = material.collect(cluster, self.archive(cluster), FOLDER)
        assert found is not None
        return found

    def stored(self, cluster: EtcdCluster) -> dict[str, bytes]:
        """Every object of the archive, by the end of its key."""
        archive = self.archive(cluster)
        return {
            item.key.rsplit("/", 1)[-1]: archive.store.get(item.key)
            for item in archive.store.list(archive.key(""))
        }


@pytest.fixture
def site(context: Context, tmp_path: Path) -> Site:
    return Site(context, tmp_path)


def recipient() -> tuple[str, str]:
    """An age identity and its recipient."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def in_clear(data: bytes) -> bool:
    return SECRET.encode() in data or b"ca.key" in data


def test_it_is_off_by_default(site: Site) -> None:
    cluster = site.cluster()
    assert material.collect(cluster, site.archive(cluster), FOLDER) is None
    assert site.stored(cluster) == {}


def test_what_was_sealed_to_age_opens_with_the_identity_alone(site: Site, tmp_path: Path) -> None:
    identity, public = recipient()
    cluster = site.cluster(age=(public,))
    sealed = site.collect(cluster)
    assert sealed.files == 3
    stored = site.stored(cluster)
    assert set(stored) == {"material.tar.zst.age", "material.json"}
    assert stored["material.tar.zst.age"].startswith(b"age-encryption.org/v1")
    assert not any(in_clear(data) for data in stored.values())
    to = tmp_path / "opened"
    _, names = material.extract(cluster, site.archive(cluster), FOLDER, to, identity=identity)
    assert len(names) == 3
    key = to / str(site.host / "pki" / "ca.key").lstrip("/")
    assert key.read_text() == SECRET
    assert key.stat().st_mode & 0o777 == 0o600
    assert to.stat().st_mode & 0o777 == 0o700


def test_another_identity_and_none_open_nothing(site: Site, tmp_path: Path) -> None:
    cluster = site.cluster(age=(recipient()[1],))
    site.collect(cluster)
    for identity, told in (
        (recipient()[0], "does not open"),
        (None, "no identity was given"),
        ("x", "neither"),
    ):
        with pytest.raises(UsageError, match=told) as error:
            material.extract(cluster, site.archive(cluster), FOLDER, tmp_path / "to", identity=identity)
        assert "AGE-SECRET-KEY-1" not in str(error.value) or "begins with" in str(error.value)
    assert not (tmp_path / "to").exists()


def test_an_ssh_key_is_a_recipient_too(site: Site, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    openssh = serialization.PublicFormat.OpenSSH
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, openssh).decode()
    identity = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    cluster = site.cluster(age=(public,))
    site.collect(cluster)
    _, names = material.extract(cluster, site.archive(cluster), FOLDER, tmp_path / "to", identity=identity)
    assert len(names) == 3


@pytest.fixture(scope="module")
def kms() -> Iterator[tuple[str, str, pytest.MonkeyPatch]]:
    """URL of moto's KMS and the ARN of a key in it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    patch = pytest.MonkeyPatch()
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        patch.setenv(name, value)
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client("kms", region_name="eu-central-1", endpoint_url=url)
        yield url, client.create_key()["KeyMetadata"]["Arn"], patch
    finally:
        patch.undo()
        server.stop()


def test_what_was_sealed_with_kms_opens_through_kms_alone(site: Site, tmp_path: Path, kms: Any) -> None:
    url, key, _ = kms
    cluster = site.cluster(kms_key=key, kms_endpoint=url)
    assert site.collect(cluster).how == f"KMS key {key}"
    stored = site.stored(cluster)
    assert not any(in_clear(data) or b"AGE-SECRET-KEY" in data for data in stored.values())
    _, names = material.extract(cluster, site.archive(cluster), FOLDER, tmp_path / "to")
    assert len(names) == 3
    label = json.loads(stored["material.json"])
    del label["label_sha256"]
    label["encryption_context"] = {"ccobs-ops": "etcd/another"}
    archive = site.archive(cluster)
    archive.store.put(archive.key(f"{FOLDER}material.json"), material._dump(label))
    with pytest.raises(UnknownError, match="KMS answers"):
        material.extract(cluster, archive, FOLDER, tmp_path / "other")


def test_a_kms_that_refuses_or_is_away_is_named_and_nothing_is_stored(site: Site, kms: Any) -> None:
    url, key, _ = kms
    for settings, told in (
        ({"kms_key": key.rsplit("/", 1)[0] + "/none", "kms_endpoint": url}, "KMS answers NotFoundException"),
        ({"kms_key": key, "kms_endpoint": "http://127.0.0.1:9"}, "KMS could not be asked"),
    ):
        cluster = site.cluster(**settings)
        with pytest.raises(UnknownError, match=told):
            site.collect(cluster)
        assert site.stored(cluster) == {}


@pytest.mark.parametrize("name", ["material.tar.zst.age", "material.json"])
def test_a_stored_object_that_changed_or_is_gone_is_found(site: Site, tmp_path: Path, name: str) -> None:
    identity, public = recipient()
    cluster = site.cluster(age=(public,))
    site.collect(cluster)
    archive = site.archive(cluster)
    data = bytearray(site.stored(cluster)[name])
    data[len(data) // 3] ^= 4
    archive.store.put(archive.key(f"{FOLDER}{name}"), bytes(data))
    with pytest.raises(OpsError):
        material.extract(cluster, archive, FOLDER, tmp_path / "to", identity=identity)
    from ccobs_ops.core.guard import permit

    allowed = permit("test", "t", allowed={"test"}, dry_run=False, confirmation="t")
    archive.store.delete(archive.key(f"{FOLDER}{name}"), allowed)
    with pytest.raises(DamagedError, match="no material is stored"):
        material.extract(cluster, archive, FOLDER, tmp_path / "to", identity=identity)


def test_a_folder_that_is_not_empty_is_left_alone(site: Site, tmp_path: Path) -> None:
    identity, public = recipient()
    cluster = site.cluster(age=(public,))
    site.collect(cluster)
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine").write_text("x")
    with pytest.raises(UsageError, match="not an empty directory"):
        material.extract(cluster, site.archive(cluster), FOLDER, tmp_path / "to", identity=identity)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"paths": ("/etc/kubernetes/there-is-none",)}, "there-is-none cannot be read"),
        ({"limit": 10}, "larger than 10 bytes"),
    ],
)
def test_what_cannot_be_collected_is_unknown(site: Site, change: dict[str, Any], told: str) -> None:
    cluster = site.cluster(age=(recipient()[1],), **change)
    with pytest.raises(UnknownError, match=told):
        site.collect(cluster)
    assert site.stored(cluster) == {}


def test_an_empty_folder_is_no_material(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cluster = site.cluster(age=(recipient()[1],), paths=(str(tmp_path / "empty"),))
    with pytest.raises(UnknownError, match="there is no file below"):
        site.collect(cluster)


def test_a_recipient_that_is_none_is_wrong_usage(site: Site) -> None:
    cluster = site.cluster(age=("age1" + "q" * 58,))
    with pytest.raises(UsageError, match="no age recipient"):
        site.collect(cluster)


def test_through_kubernetes_the_nodes_own_files_are_read(site: Site, tmp_path: Path) -> None:
    identity, public = recipient()
    fake = FakeKubernetes([])
    fake.faults.job_pod = Pod("job", programs={"/ccobs/busybox": ["env"]})
    with fake.serving(tmp_path) as kubeconfig:
        cluster = site.cluster(
            kubernetes=EtcdKubernetes(kubeconfig=str(kubeconfig)), age=(public,), collector="kubernetes"
        )
        assert site.collect(cluster).files == 3
        assert fake.jobs == {}
        fake.faults.cut_after = 2000
        with pytest.raises(UnknownError):
            material.collect(cluster, site.archive(cluster), FOLDER.replace("abcd", "cafe"))
        assert fake.jobs == {}
    _, names = material.extract(cluster, site.archive(cluster), FOLDER, tmp_path / "to", identity=identity)
    assert len(names) == 3


def test_the_operators_verb_takes_the_newest_snapshot_that_has_it(site: Site, tmp_path: Path) -> None:
    identity, public = recipient()
    cluster = site.cluster(age=(public,))
    archive = site.archive(cluster)
    site.collect(cluster)
    for number, name in enumerate(("20261123T020000Z-abcd", "20261123T030000Z-ef01")):
        archive.store.put(
            archive.key(layout.catalogue_key(name)),
            snapshot(name, datetime(2026, 11, 23, 2 + number, tzinfo=UTC)).dump(),
        )
    (tmp_path / "identity").write_text(f"# created by a test\n{identity}\n")
    (tmp_path / "identity").chmod(0o600)
    opened = restore_material(
        site.context, "control", to=tmp_path / "to", identity=f"file:{tmp_path / 'identity'}"
    )
    assert opened.verdict is Verdict.PASSED, opened
    assert opened.details["snapshot_id"] == "20261123T020000Z-abcd"
    assert identity not in json.dumps(opened.to_json())
    refused = restore_material(site.context, "control", to=tmp_path / "to2", snapshot="20261123T03")
    assert refused.verdict is Verdict.FAILED
    assert [finding.code for finding in refused.findings] == ["material_missing"]
