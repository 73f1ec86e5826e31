"""Keys and values as a Kubernetes API server writes them to etcd: seeded, so that two labs of one seed hold the same bytes.

Built-in kinds are protobuf in the storage envelope, custom resources JSON, most secrets begin with an encryption prefix and
some, written "before encryption was on", are in clear. Nothing in them is real.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

from ccobs_ops.lab.kubernetes_wire import block, envelope, integer, metadata, moment, text

Pair = tuple[bytes, bytes]
Make = Callable[[int, int], Pair]

EPOCH = 1_790_000_000
"""Creation time of the oldest object, in seconds since 1970."""
NAMESPACES = ("default", "kube-system", "kube-node-lease", *(f"team-{number:02d}" for number in range(40)))
APPS = ("api", "collector", "gateway", "ingest", "redactor", "scheduler", "session-store", "ui", "worker")
NODES = 40
CLEAR_MARK = "clear-secret-"
"""What every secret in clear holds: whoever prints it has printed a value."""

_MANAGED = json.dumps(
    {
        "f:metadata": {
            "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}},
            "f:ownerReferences": {},
        },
        "f:spec": {
            "f:containers": {
                'k:{"name":"main"}': {
                    ".": {},
                    "f:image": {},
                    "f:imagePullPolicy": {},
                    "f:name": {},
                    "f:resources": {".": {}, "f:limits": {}, "f:requests": {}},
                    "f:terminationMessagePath": {},
                    "f:volumeMounts": {},
                }
            },
            "f:dnsPolicy": {},
            "f:enableServiceLinks": {},
            "f:restartPolicy": {},
            "f:schedulerName": {},
        },
    },
    separators=(",", ":"),
).encode()


def keys(count: int, seed: int = 1) -> Iterator[Pair]:
    """Exactly `count` different keys with their values, kind after kind, lazily; about 1 KB each.

    Raises ValueError below 1.
    """
    if count < 1:
        raise ValueError("a cluster has at least one key")
    for make, share in _shares(count):
        for index in range(share):
            yield make(seed, index)


def churn(seed: int = 1) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """Rounds of what a cluster writes while nobody touches it, for ever: leases renewed, events, pods that report.

    A value of None deletes the key. Events live for sixty rounds, so that the number of keys settles.
    """
    turn = 0
    while True:
        now = EPOCH + 5_000_000 + turn
        writes: list[tuple[bytes, bytes | None]] = [
            _lease(seed, (turn * 4 + step) % NODES, renewed=now) for step in range(4)
        ]
        writes += [_event(seed, 1_000_000_000 + turn * 3 + step) for step in range(3)]
        if turn >= 60:
            writes += [(_event(seed, 1_000_000_000 + (turn - 60) * 3 + step)[0], None) for step in range(3)]
        writes.append(_pod(seed, turn % 50, reported=now))
        yield writes
        turn += 1


def _shares(count: int) -> list[tuple[Make, int]]:
    """How many of each kind, in per mille of `count`; what rounding leaves are pods."""
    plan: list[tuple[Make, int]] = [
        (_namespace, min(len(NAMESPACES), count // 100)),
        (_node, min(NODES, count // 100)),
        (_lease, min(NODES, count // 100)),
        (_custom_definition, min(len(APPS), count // 100)),
    ]
    shares = (
        (_event, 270),
        (_replica_set, 90),
        (_deployment, 50),
        (_service, 50),
        (_endpoint_slice, 60),
        (_config_map, 80),
        (_secret, 90),
        (_account, 40),
        (_custom, 80),
    )
    plan += [(make, count * share // 1000) for make, share in shares]
    return [*plan, (_pod, count - sum(number for _, number in plan))]


def _bits(seed: int, kind: str, index: int, size: int = 32) -> bytes:
    """Bytes that depend on nothing but the arguments."""
    return hashlib.shake_128(f"{seed}/{kind}/{index}".encode()).digest(size)


def _uid(bits: bytes) -> str:
    digits = bits[:16].hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


def _place(index: int, bits: bytes) -> tuple[str, str]:
    """A namespace and an application."""
    return NAMESPACES[bits[16] % len(NAMESPACES)], f"{APPS[bits[17] % len(APPS)]}-{index:x}"


def _created(bits: bytes) -> int:
    return EPOCH + int.from_bytes(bits[18:21], "big") % 4_000_000


def _key(*parts: str) -> bytes:
    return "/".join(("/registry", *parts)).encode()


def _namespace(seed: int, index: int) -> Pair:
    bits = _bits(seed, "namespace", index)
    name = NAMESPACES[index]
    meta = metadata(
        name=name, uid=_uid(bits), created=_created(bits), labels={"kubernetes.io/metadata.name": name}
    )
    spec = block(2, text(1, "kubernetes"))
    return _key("namespaces", name), envelope("v1", "Namespace", (meta, spec, block(3, text(1, "Active"))))


def _node(seed: int, index: int) -> Pair:
    bits = _bits(seed, "node", index)
    name = f"node-{index:03d}"
    meta = metadata(
        name=name,
        uid=_uid(bits),
        created=_created(bits),
        labels={"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        managed=_MANAGED,
    )
    spec = block(2, text(1, f"10.244.{index}.0/24") + text(3, f"aws:///eu-central-1a/i-{bits[:8].hex()}"))
    images = b"".join(
        block(8, text(1, f"registry.example.com/{app}@sha256:{bits.hex()}") + integer(2, 90_000_000))
        for app in APPS
    )
    return _key("minions", name), envelope("v1", "Node", (meta, spec, block(3, images)))


def _lease(seed: int, index: int, *, renewed: int = EPOCH + 4_500_000) -> Pair:
    bits = _bits(seed, "lease", index)
    name = f"node-{index:03d}"
    meta = metadata(name=name, namespace="kube-node-lease", uid=_uid(bits), created=_created(bits))
    spec = text(1, name) + integer(2, 40) + moment(4, renewed, 512_000)
    return (
        _key("leases", "kube-node-lease", name),
        envelope("coordination.k8s.io/v1", "Lease", (meta, block(2, spec))),
    )


def _custom_definition(seed: int, index: int) -> Pair:
    bits = _bits(seed, "definition", index)
    plural = f"{APPS[index]}s".replace("-", "")
    name = f"{plural}.observatory.example.com"
    document = {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": name, "uid": _uid(bits), "creationTimestamp": "2026-09-21T14:13:20Z"},
        "spec": {"group": "observatory.example.com", "scope": "Namespaced", "names": {"plural": plural}},
    }
    return _key("apiextensions.k8s.io", "customresourcedefinitions", name), _json(document)


def _event(seed: int, index: int) -> Pair:
    bits = _bits(seed, "event", index)
    namespace, app = _place(index, bits)
    name = f"{app}.{bits[:8].hex()}"
    meta = metadata(
        name=name, namespace=namespace, uid=_uid(bits), created=_created(bits), managed=_MANAGED[:330]
    )
    about = block(
        2, text(1, "Pod") + text(2, namespace) + text(3, app) + text(4, _uid(bits[1:])) + text(5, "v1")
    )
    told = (
        text(3, "Pulled")
        + text(4, f'Container image "registry.example.com/{app}:{bits[3]}" already present on machine')
        + block(5, text(1, "kubelet") + text(2, f"node-{bits[22] % NODES:03d}"))
    )
    times = moment(6, _created(bits)) + moment(7, _created(bits) + 60) + integer(8, 1) + text(9, "Normal")
    return _key("events", namespace, name), envelope("v1", "Event", (meta, about, told, times))


def _workload(seed: int, index: int, kind: str, resource: str) -> Pair:
    bits = _bits(seed, resource, index)
    namespace, app = _place(index, bits)
    labels = {"app": app, "app.kubernetes.io/managed-by": "helm"}
    meta = metadata(
        name=app,
        namespace=namespace,
        uid=_uid(bits),
        created=_created(bits),
        labels=labels,
        annotations={"deployment.kubernetes.io/revision": str(bits[4])},
        managed=_MANAGED,
    )
    spec = integer(1, 1 + bits[5] % 5) + block(3, block(1, text(1, app)) + block(2, _pod_spec(app, bits)))
    return _key(resource, namespace, app), envelope("apps/v1", kind, (meta, block(2, spec)))


def _replica_set(seed: int, index: int) -> Pair:
    return _workload(seed, index, "ReplicaSet", "replicasets")


def _deployment(seed: int, index: int) -> Pair:
    return _workload(seed, index, "Deployment", "deployments")


def _service(seed: int, index: int) -> Pair:
    bits = _bits(seed, "service", index)
    namespace, app = _place(index, bits)
    meta = metadata(
        name=app, namespace=namespace, uid=_uid(bits), created=_created(bits), labels={"app": app}
    )
    port = block(1, text(1, "http") + text(2, "TCP") + integer(3, 80) + integer(5, 30_000 + index % 2000))
    spec = block(2, port + text(3, f"10.96.{bits[6]}.{bits[7]}") + text(4, "ClusterIP"))
    return _key("services", "specs", namespace, app), envelope("v1", "Service", (meta, spec))


def _endpoint_slice(seed: int, index: int) -> Pair:
    bits = _bits(seed, "slice", index)
    namespace, app = _place(index, bits)
    name = f"{app}-{bits[8:11].hex()}"
    meta = metadata(
        name=name,
        namespace=namespace,
        uid=_uid(bits),
        created=_created(bits),
        labels={"kubernetes.io/service-name": app},
        owner=("v1", "Service", app, _uid(bits[2:])),
    )
    ends = b"".join(
        block(2, text(1, f"10.244.{bits[9 + number]}.{bits[10 + number]}") + block(2, integer(1, 1)))
        for number in range(1 + bits[9] % 6)
    )
    return (
        _key("endpointslices", namespace, name),
        envelope("discovery.k8s.io/v1", "EndpointSlice", (meta, ends, text(4, "IPv4"))),
    )


def _config_map(seed: int, index: int) -> Pair:
    bits = _bits(seed, "configmap", index)
    namespace, app = _place(index, bits)
    meta = metadata(name=app, namespace=namespace, uid=_uid(bits), created=_created(bits))
    lines = "\n".join(f"option_{number} = {bits.hex()}" for number in range(6 + bits[11] % 16))
    return _key("configmaps", namespace, app), envelope(
        "v1", "ConfigMap", (meta, block(2, text(1, "settings.ini") + text(2, lines)))
    )


def _secret(seed: int, index: int) -> Pair:
    bits = _bits(seed, "secret", index)
    namespace, app = _place(index, bits)
    key = _key("secrets", namespace, app)
    way = index % 4
    if way < 2:
        return key, b"k8s:enc:aescbc:v1:key1:" + _bits(seed, "sealed", index, 16 * (20 + bits[12] % 40))
    if way == 2:
        return key, b"k8s:enc:kms:v2:observatory-kms:" + _bits(seed, "sealed", index, 300 + bits[12])
    meta = metadata(name=app, namespace=namespace, uid=_uid(bits), created=_created(bits))
    held = block(2, text(1, "password") + text(2, f"{CLEAR_MARK}{bits.hex()}"))
    return key, envelope("v1", "Secret", (meta, held, text(3, "Opaque")))


def _account(seed: int, index: int) -> Pair:
    bits = _bits(seed, "account", index)
    namespace, app = _place(index, bits)
    meta = metadata(name=app, namespace=namespace, uid=_uid(bits), created=_created(bits))
    return _key("serviceaccounts", namespace, app), envelope("v1", "ServiceAccount", (meta,))


def _custom(seed: int, index: int) -> Pair:
    bits = _bits(seed, "custom", index)
    namespace, app = _place(index, bits)
    document = {
        "apiVersion": "observatory.example.com/v1",
        "kind": "Collector",
        "metadata": {
            "name": app,
            "namespace": namespace,
            "uid": _uid(bits),
            "generation": 1 + bits[13] % 9,
            "labels": {"app": app},
        },
        "spec": {"batch": bits[14], "sinks": [f"sink-{number}-{bits.hex()}" for number in range(8)]},
        "status": {"phase": "Ready", "observedGeneration": 1 + bits[13] % 9},
    }
    return _key("observatory.example.com", "collectors", namespace, app), _json(document)


def _pod(seed: int, index: int, *, reported: int = EPOCH + 4_500_000) -> Pair:
    bits = _bits(seed, "pod", index)
    namespace, app = _place(index, bits)
    name = f"{app}-{bits[:5].hex()}-{bits[5:8].hex()}"
    meta = metadata(
        name=name,
        namespace=namespace,
        uid=_uid(bits),
        created=_created(bits),
        labels={"app": app, "pod-template-hash": bits[:5].hex()},
        owner=("apps/v1", "ReplicaSet", f"{app}-{bits[:5].hex()}", _uid(bits[3:])),
        managed=_MANAGED,
    )
    spec = _pod_spec(app, bits) + text(10, f"node-{bits[22] % NODES:03d}")
    ready = block(2, text(1, "Ready") + text(2, "True") + moment(3, reported) + moment(4, _created(bits)))
    status = text(1, "Running") + ready + text(5, f"10.0.{bits[6]}.{bits[7]}") + moment(7, _created(bits))
    return _key("pods", namespace, name), envelope("v1", "Pod", (meta, block(2, spec), block(3, status)))


def _pod_spec(app: str, bits: bytes) -> bytes:
    volume = block(1, text(1, "config") + block(2, block(19, block(1, text(1, app)))))
    settings = b"".join(
        block(7, text(1, f"SETTING_{number}") + text(2, bits[number : number + 6].hex()))
        for number in range(8)
    )
    container = (
        text(1, "main")
        + text(2, f"registry.example.com/observatory/{app}@sha256:{bits.hex()}")
        + settings
        + block(9, text(1, "config") + text(3, "/etc/observatory"))
        + text(13, "/dev/termination-log")
        + text(14, "IfNotPresent")
    )
    return volume + block(2, container) + text(3, "Always") + integer(4, 30) + text(6, "ClusterFirst")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
