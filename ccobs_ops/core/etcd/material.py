"""The files that a control plane needs beside its data: certificates, keys, manifests. Stored encrypted, or not at all.

    files of the host -> tar -> zstd -> age -> `material.tar.zst.age` beside the snapshot, and `material.json` that says how

With `age` recipients only who holds one of the identities can open it, and we cannot. With a KMS key a fresh age identity is
made each time, encrypted by KMS and kept in `material.json`; opening needs `kms:Decrypt`. Plain bytes exist in memory only.
Format: age-encryption.org/v1; without this program `age -d -i KEY material.tar.zst.age | zstd -d | tar -x` opens it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError, UsageError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.storage import MissingObjectError, md5_hex

if TYPE_CHECKING:
    from ccobs_ops.core.etcd.archive import Archive
    from ccobs_ops.core.etcd.cluster import EtcdCluster
    from ccobs_ops.inventory_etcd_kubernetes import EtcdMaterial

SEALED = "material.tar.zst.age"
LABEL = "material.json"
FORMAT = 1
_KMS_SECONDS = 10


class Collector(Protocol):
    """Where the files come from. A new one is a class and a line in `COLLECTORS`."""

    def tar(self) -> bytes:
        """All files as one tar, paths without the leading slash; raises OpsError when one cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was stored with a snapshot: how many files, and how they were encrypted (no secret)."""

    files: int
    raw_bytes: int
    stored_bytes: int
    how: str


class FilesCollector:
    """The files of this host: for a control-plane node."""

    def __init__(self, cluster: EtcdCluster, config: EtcdMaterial) -> None:
        self._config = config

    def tar(self) -> bytes:
        """Every file and folder below the paths, as they are; links are kept as links."""
        out = io.BytesIO()
        try:
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for path in self._config.paths:
                    archive.add(path, arcname=path.lstrip("/"), filter=_bounded(self._config.limit))
        except OSError as error:
            raise UnknownError(
                f"{error.filename or self._config.paths[0]} cannot be read: {error.strerror or error}",
                hint="run this on a control-plane node as an account that may read them, or correct `material.paths`",
            ) from error
        return out.getvalue()


class KubernetesCollector:
    """The files of a control-plane node, through a pod of ours that has them mounted read-only."""

    def __init__(self, cluster: EtcdCluster, config: EtcdMaterial) -> None:
        if cluster.config.kubernetes is None:
            raise UsageError(
                f"material.collector is kubernetes, and {cluster.target} has no `kubernetes`",
                hint=f"add etcd.{cluster.name}.kubernetes",
            )
        self._cluster = cluster
        self._config = config

    def tar(self) -> bytes:
        """The node's own tar of the paths."""
        from ccobs_ops.core.etcd.kubernetes_files import read_host_files  # noqa: PLC0415

        return read_host_files(self._cluster, self._config.paths, limit=self._config.limit)


COLLECTORS: dict[str, Callable[[EtcdCluster, EtcdMaterial], Collector]] = {
    "files": FilesCollector,
    "kubernetes": KubernetesCollector,
}


def collect(cluster: EtcdCluster, archive: Archive, folder: str) -> Sealed | None:
    """Collect, encrypt and store the material of `cluster` below `folder` of its archive; None if none is asked for.

    Raises OpsError when the files cannot be read, encrypted or stored: then nothing of them is there.
    """
    config = cluster.config.material
    if config is None:
        return None
    plain = COLLECTORS[config.collector](cluster, config).tar()
    files = _files(plain, config)
    sealed, label = _seal(plain, config, cluster)
    archive.store.put(archive.key(f"{folder}{SEALED}"), sealed, lock=True)
    label |= {
        "format": FORMAT,
        "files": files,
        "paths": list(config.paths),
        "raw_bytes": len(plain),
        "bytes": len(sealed),
        "md5": md5_hex(sealed),
        "sha256": hashlib.sha256(sealed).hexdigest(),
    }
    archive.store.put(archive.key(f"{folder}{LABEL}"), _dump(label), lock=True)
    return Sealed(files, len(plain), len(sealed), _told(label))


def extract(
    cluster: EtcdCluster, archive: Archive, folder: str, to: Path, *, identity: str | None = None
) -> tuple[Sealed, tuple[str, ...]]:
    """Decrypt the material below `folder` of the archive into the empty directory `to` (0700), each file with its mode.

    `identity` is the text of an age identity (AGE-SECRET-KEY-… or an OpenSSH private key); for what a KMS key sealed, KMS
    is asked. Returns what it was and the files' paths. Raises DamagedError when it is missing or changed, UsageError when
    `to` is not empty or the identity does not fit.
    """
    label = _label(archive, folder)
    try:
        sealed = archive.store.get(archive.key(f"{folder}{SEALED}"), md5=label["md5"], limit=label["bytes"])
    except MissingObjectError as error:
        raise _missing(archive, folder) from error
    _require_empty(to)
    plain = _open(sealed, label, cluster, identity)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    to.chmod(0o700)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        names = tuple(member.name for member in tar.getmembers() if not member.isdir())
        try:
            tar.extractall(to, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise OpsError(f"the material could not be written to {to}: {error}") from error
    return Sealed(label["files"], len(plain), len(sealed), _told(label)), names


# -- sealing -----------------------------------------------------------------------------------------------------


def _seal(plain: bytes, config: EtcdMaterial, cluster: EtcdCluster) -> tuple[bytes, dict[str, Any]]:
    pyrage = _pyrage()
    import zstandard  # noqa: PLC0415

    packed = zstandard.ZstdCompressor(level=9).compress(plain)
    if config.kms_key is None:
        return pyrage.encrypt(packed, [_recipient(text) for text in config.age]), {
            "method": "age",
            "recipients": list(config.age),
        }
    identity = pyrage.x25519.Identity.generate()
    REDACT.add(str(identity))
    context = {"ccobs-ops": cluster.target}
    with _kms(config) as client:
        wrapped = client.encrypt(
            KeyId=config.kms_key, Plaintext=str(identity).encode(), EncryptionContext=context
        )
    return pyrage.encrypt(packed, [identity.to_public()]), {
        "method": "kms",
        "kms_key": wrapped["KeyId"],
        "identity": base64.b64encode(wrapped["CiphertextBlob"]).decode(),
        "encryption_context": context,
    }


def _open(sealed: bytes, label: dict[str, Any], cluster: EtcdCluster, identity: str | None) -> bytes:
    pyrage = _pyrage()
    import zstandard  # noqa: PLC0415

    if label["method"] == "kms" and identity is None:
        config = cluster.config.material
        with _kms(config) as client:
            answer = client.decrypt(
                CiphertextBlob=base64.b64decode(label["identity"]),
                EncryptionContext=label["encryption_context"],
                KeyId=label["kms_key"],
            )
        opened = str(answer["Plaintext"].decode())
        REDACT.add(opened)
        identity = opened
    if identity is None:
        raise UsageError(
            f"the material is encrypted to {_told(label)}, and no identity was given",
            hint="name where the identity is: --identity file:PATH, env:NAME or secretsmanager:ARN",
        )
    try:
        packed = pyrage.decrypt(sealed, [_identity(identity)])
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=max(label["raw_bytes"], 1))
    except pyrage.DecryptError as error:
        raise UsageError(
            f"this identity does not open the material: {REDACT(str(error)).lower()}",
            hint=f"it is encrypted to {_told(label)}",
        ) from error
    except zstandard.ZstdError as error:
        raise DamagedError(
            "the material is damaged: it decrypts and does not decompress",
            code="material_corrupt",
            subject=SEALED,
        ) from error


def _pyrage() -> Any:
    import pyrage  # noqa: PLC0415

    return pyrage


def _recipient(text: str) -> Any:
    pyrage = _pyrage()

    try:
        return (pyrage.ssh if text.startswith("ssh-") else pyrage.x25519).Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise UsageError(
            f"{text[:16]}… is no age recipient: {error}",
            hint="correct `material.age`; age-keygen -y prints an identity's recipient",
        ) from error


def _identity(text: str) -> Any:
    pyrage = _pyrage()

    key = next((line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-")), None)
    try:
        return pyrage.x25519.Identity.from_str(key) if key else pyrage.ssh.Identity.from_buffer(text.encode())
    except (pyrage.IdentityError, ValueError, TypeError) as error:
        raise UsageError(
            "the identity is neither an age identity nor an OpenSSH private key",
            hint="it begins with AGE-SECRET-KEY-1, or with -----BEGIN OPENSSH PRIVATE KEY-----",
        ) from error


@contextmanager
def _kms(config: EtcdMaterial | None) -> Iterator[Any]:
    """KMS by the AWS chain's credentials, its errors in our words."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    key = config.kms_key if config else None
    parts = (key or "").split(":")
    region = (config.kms_region if config else None) or (parts[3] if len(parts) > 5 else None)
    settings = Config(
        connect_timeout=_KMS_SECONDS,
        read_timeout=_KMS_SECONDS,
        retries={"total_max_attempts": 3, "mode": "standard"},
    )
    try:
        yield boto3.client(
            "kms",
            region_name=region,
            config=settings,
            endpoint_url=config.kms_endpoint if config else None,
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error")
        raise UnknownError(
            f"KMS answers {code} for key {key}",
            hint="this role needs kms:Encrypt to collect, and kms:Decrypt to open; see the key's policy and region",
        ) from error
    except BotoCoreError as error:
        raise UnknownError(
            f"KMS could not be asked: {REDACT(str(error))}",
            hint="see whether this host reaches KMS and has AWS credentials; set `material.kms_region`",
        ) from error


# -- what is stored ----------------------------------------------------------------------------------------------


def _label(archive: Archive, folder: str) -> dict[str, Any]:
    key = f"{folder}{LABEL}"
    try:
        data = archive.store.get(archive.key(key), limit=1 << 20)
    except MissingObjectError as error:
        raise _missing(archive, folder) from error
    try:
        label: dict[str, Any] = json.loads(data)
        label.pop("label_sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupt(archive.locate(key), "it is no label of ours") from error
    if _dump(label) != data:
        raise _corrupt(archive.locate(key), "it is not as it was written")
    if label["format"] > FORMAT:
        raise _corrupt(archive.locate(key), f"its format {label['format']} is newer than this program reads")
    return label


def _dump(label: dict[str, Any]) -> bytes:
    """The label as stored, with a SHA-256 of itself."""
    digest = hashlib.sha256(json.dumps(label, sort_keys=True).encode()).hexdigest()
    return json.dumps(label | {"label_sha256": digest}, indent=1).encode()


def _corrupt(where: str, why: str) -> DamagedError:
    return DamagedError(
        f"{where} cannot be used: {why}",
        code="material_corrupt",
        subject=where,
        hint="take the material of another snapshot, or bring the object back from its other region",
    )


def _missing(archive: Archive, folder: str) -> DamagedError:
    where = archive.locate(folder)
    return DamagedError(
        f"no material is stored below {where}",
        code="material_missing",
        subject=where,
        hint="it is collected only where the inventory has `material`; choose a snapshot that has it",
    )


def _told(label: dict[str, Any]) -> str:
    if label["method"] == "kms":
        return f"KMS key {label['kms_key']}"
    return f"{len(label['recipients'])} age recipient{'' if len(label['recipients']) == 1 else 's'}"


def _files(plain: bytes, config: EtcdMaterial) -> int:
    try:
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            files = sum(1 for member in tar.getmembers() if not member.isdir())
    except tarfile.TarError as error:
        raise UnknownError(f"what was collected is no tar: {error}") from error
    if not files:
        raise UnknownError(
            f"there is no file below {', '.join(config.paths)}",
            hint="correct `material.paths` in the inventory",
        )
    return files


def _bounded(limit: int) -> Callable[[tarfile.TarInfo], tarfile.TarInfo]:
    total = 0

    def count(member: tarfile.TarInfo) -> tarfile.TarInfo:
        nonlocal total
        total += member.size
        if total > limit:
            raise UnknownError(
                f"the material is larger than {limit} bytes at {member.name}",
                hint="name fewer paths, or raise `material.limit`",
            )
        return member

    return count


def _require_empty(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(os.scandir(to))):
        raise UsageError(f"{to} is not an empty directory", hint="name a new one: keys are written into it")
