"""`access: kubernetes`: etcdctl inside the cluster, where the host's certificates are, and what it prints streamed out.

A member is addressed by the client URL that it advertises. The programs run in an etcd pod (`method: exec`) or in a pod of
our own on a control-plane node (`method: job`); the one on the member's own node first, since a snapshot passes its disk.
etcdctl writes snapshots to files only, so one is written into `work_dir`, read out and removed. kubeadm's own etcd image has
neither `cat` nor `rm`, but a static shell and `cp`: whichever of several ways a container has is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.etcd.access import (
    Alarm,
    Block,
    CompactedError,
    EndpointError,
    KvHash,
    Member,
    MemberStatus,
    Unreachable,
    View,
)
from ccobs_ops.core.etcd.kubernetes_api import Kubernetes, PodRef, RanBadlyError
from ccobs_ops.core.etcd.kubernetes_job import HELPER, TOOLS, manifest, pod_of_job
from ccobs_ops.core.scratch import scratch

if TYPE_CHECKING:
    from ccobs_ops.core.etcd.cluster import EtcdCluster
    from ccobs_ops.inventory_etcd_kubernetes import EtcdKubernetes

ALARMS = {1: "NOSPACE", 2: "CORRUPT"}
HASH_SECONDS = 300.0
_OVERHEAD_SECONDS = 20.0
_QUIET_SECONDS = 60.0
_JSON = "--write-out=json"
_COUNT = re.compile(r'^"Count" : (\d+)$', re.MULTILINE)


class KubernetesAccess:
    """The members of `cluster` through its Kubernetes API server. Raises UsageError where the inventory does not say how."""

    def __init__(self, cluster: EtcdCluster) -> None:
        config = cluster.config.kubernetes
        if config is None:
            raise UsageError(
                f"{cluster.target} has access: kubernetes, and no `kubernetes`",
                hint=f"add etcd.{cluster.name}.kubernetes",
            )
        self._cluster = cluster
        self._config: EtcdKubernetes = config
        self._stack = ExitStack()
        self._pods: list[PodRef] = []
        self._nodes: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            keep = stack.enter_context(scratch("kubernetes"))
            base = self._cluster.inventory.path.parent
            self._api = stack.enter_context(Kubernetes.connected(self._config, base, keep))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._pods = []
        self._stack.close()

    def look(self) -> View:
        """The member list from a pod that answers, and the status of each member by its first client URL."""
        try:
            listed, members = self._members()
        except OpsError as error:
            return View(silent=(Unreachable(self._place, error.message, error.hint),))
        answered: list[MemberStatus] = []
        silent = list(listed)
        for member in members:
            if not member.client_urls:
                silent.append(
                    Unreachable(member.name or f"{member.id:x}", "it was added, and has never started")
                )
                continue
            endpoint = member.client_urls[0]
            self._nodes[endpoint] = member.name
            try:
                answered.append(self._status(endpoint))
            except EndpointError as error:
                silent.append(Unreachable(endpoint, error.reason, error.hint))
            except OpsError as error:
                silent.append(Unreachable(endpoint, error.message, error.hint))
        return View(tuple(answered), tuple(silent), members)

    def alarms(self, endpoint: str) -> tuple[Alarm, ...]:
        """The alarms that are on."""
        answer = self._json(endpoint, "alarm", "list")
        return tuple(
            Alarm(int(row["memberID"]), ALARMS.get(row.get("alarm", 0), str(row.get("alarm"))))
            for row in answer.get("alarms") or ()
        )

    def hash_kv(self, endpoint: str, revision: int) -> KvHash:
        """HashKV at `revision`."""
        [row] = self._json(endpoint, "endpoint", "hashkv", f"--rev={revision}", seconds=HASH_SECONDS)
        found = row["HashKV"]
        return KvHash(
            int(found.get("hash", 0)),
            revision or int(found["header"]["revision"]),
            int(found.get("compact_revision", 0)),
        )

    def count(self, endpoint: str, prefix: str, revision: int) -> int:
        """Keys below `prefix` at `revision`, of that member's own data."""
        words = ("get", prefix, "--prefix", "--count-only", "--consistency=s", f"--rev={revision}")
        told = self._ask(endpoint, (*words, "--write-out=fields"), HASH_SECONDS).decode("utf-8", "replace")
        found = _COUNT.search(told)  # etcdctl counts in no other format
        if found is None:
            raise EndpointError(endpoint, "etcdctl get --count-only printed no count")
        return int(found[1])

    def snapshot(self, endpoint: str, deadline: float) -> AbstractContextManager[Iterator[Block]]:
        """The member's snapshot: written in a pod, streamed out while its file is read, and removed there."""
        return self._snapshot(endpoint, deadline)

    def defragment(self, endpoint: str, deadline: float) -> None:
        """Have the member rewrite its file."""
        self._run(self._runners(endpoint)[0], endpoint, ("defrag",), deadline)

    @contextmanager
    def _snapshot(self, endpoint: str, deadline: float) -> Iterator[Iterator[Block]]:
        until = time.monotonic() + deadline
        pod = self._runners(endpoint)[0]
        path = self._file
        try:
            self._run(pod, endpoint, ("snapshot", "save", path), deadline)
            with contextlib.closing(self._read(pod, endpoint, path, until)) as blocks:
                yield blocks
        finally:
            self._remove(pod, path)

    def _read(self, pod: PodRef, endpoint: str, path: str, until: float) -> Generator[Block]:
        for argv in self._ways(("cat", path), ("cp", path, "/dev/stdout")):
            left = max(until - time.monotonic(), 1.0)
            began = False
            try:
                with self._api.streaming(pod, argv, deadline=left, quiet=_QUIET_SECONDS) as blocks:
                    for block in blocks:
                        began = True
                        yield block
            except RanBadlyError as error:
                if began or not error.absent:
                    raise EndpointError(endpoint, f"{path} cannot be read: {error.message}") from error
            except UnknownError as error:
                raise EndpointError(endpoint, error.message, hint=error.hint) from error
            else:
                return
        raise UnknownError(
            f"{pod} has neither cat nor cp: a snapshot cannot be read out of it",
            hint="set `kubernetes.method: job` in the inventory: its pod brings the program",
        )

    def _remove(self, pod: PodRef, path: str) -> None:
        """Remove what etcdctl wrote, also its unfinished `.part`. Where a container has no `rm`, the files are emptied."""
        files = (path, f"{path}.part")
        empty = "; ".join(f"[ ! -e {name} ] || : > {name}" for name in map(shlex.quote, files))
        for argv in self._ways(("rm", "-f", *files), ("sh", "-c", empty)):
            try:
                self._api.run(pod, argv, deadline=_OVERHEAD_SECONDS)
            except RanBadlyError:
                continue
            except OpsError:
                pass  # the pod or the API server is gone; the name is the same next time
            return

    def _ways(self, *programs: Sequence[str]) -> list[list[str]]:
        helped = [[HELPER, *argv] for argv in programs[:1]] if self._config.method == "job" else []
        return helped or [list(argv) for argv in programs]

    @property
    def _file(self) -> str:
        """The same name for each snapshot of this target from this host: what a killed one left is overwritten."""
        mark = hashlib.sha256(f"{socket.gethostname()} {self._cluster.state}".encode()).hexdigest()[:12]
        folder = TOOLS if self._config.method == "job" else self._config.work_dir
        return f"{folder}/ccobs-ops-{self._cluster.name}-{mark}.db"

    @property
    def _place(self) -> str:
        return f"{self._api.server} {self._config.namespace}/{self._config.selector}"

    # -- etcdctl -------------------------------------------------------------------------------------------------

    def _members(self) -> tuple[list[Unreachable], tuple[Member, ...]]:
        """The member list from the first pod whose own member answers, and the pods whose did not."""
        silent: list[Unreachable] = []
        for pod in self._runners(""):
            try:
                told = self._run(pod, self._config.endpoint, ("member", "list", _JSON), self._timeout)
                answer = _parsed(self._config.endpoint, ("member", "list"), told)
            except OpsError as error:
                silent.append(Unreachable(f"{self._config.endpoint} in {pod}", error.message, error.hint))
                continue
            return [], tuple(
                Member(
                    int(row["ID"]),
                    row.get("name", ""),
                    tuple(row.get("peerURLs", ())),
                    tuple(row.get("clientURLs", ())),
                    bool(row.get("isLearner", False)),
                )
                for row in answer.get("members", ())
            )
        return silent, ()

    def _status(self, endpoint: str) -> MemberStatus:
        [row] = self._json(endpoint, "endpoint", "status")
        status = row["Status"]
        header = status["header"]
        return MemberStatus(
            endpoint=endpoint,
            cluster_id=int(header["cluster_id"]),
            member_id=int(header["member_id"]),
            version=str(status.get("version", "")),
            revision=int(header.get("revision", 0)),
            raft_term=int(header.get("raft_term", 0)),
            raft_index=int(status.get("raftIndex", 0)),
            raft_applied_index=int(status.get("raftAppliedIndex", status.get("raftIndex", 0))),
            leader=int(status.get("leader", 0)),
            learner=bool(status.get("isLearner", False)),
            db_bytes=int(status.get("dbSize", 0)),
            db_in_use_bytes=int(status.get("dbSizeInUse", 0)),
            errors=tuple(str(each) for each in status.get("errors") or ()),
            quota_bytes=int(status["dbSizeQuota"]) if status.get("dbSizeQuota") else None,
        )

    def _json(self, endpoint: str, *words: str, seconds: float | None = None) -> Any:
        return _parsed(endpoint, words, self._ask(endpoint, (*words, _JSON), seconds or self._timeout))

    def _ask(self, endpoint: str, words: Sequence[str], seconds: float) -> bytes:
        """What etcdctl prints in the first pod that can be used."""
        failure: OpsError | None = None
        for pod in self._runners(endpoint):
            try:
                return self._run(pod, endpoint, words, seconds)
            except (EndpointError, CompactedError):
                raise
            except UnknownError as error:  # the pod cannot be used: another may
                failure = error
        raise failure or self._nobody()

    def _run(self, pod: PodRef, endpoint: str, words: Sequence[str], seconds: float) -> bytes:
        argv = [
            "etcdctl",
            f"--endpoints={endpoint}",
            f"--command-timeout={seconds:.0f}s",
            "--dial-timeout=5s",
        ]
        if endpoint.startswith("https:"):
            config = self._config
            argv += [
                f"--{option}={config.pki_dir}/{name}"
                for option, name in (("cacert", config.ca), ("cert", config.cert), ("key", config.key))
            ]
        try:
            return self._api.run(pod, [*argv, *words], deadline=seconds + _OVERHEAD_SECONDS)
        except RanBadlyError as error:
            if error.absent:
                raise UnknownError(
                    f"{pod} has no etcdctl in its container {pod.container!r}",
                    hint="name the container or an image that has it: `kubernetes.container`, `kubernetes.image`",
                ) from error
            told = _telling(error.tail) or error.message
            if "required revision has been compacted" in told:
                raise CompactedError(f"{endpoint}: {told}") from error
            raise EndpointError(endpoint, f"{told} (etcdctl in {pod})", hint=_hint(told)) from error

    # -- where to run it -----------------------------------------------------------------------------------------

    @property
    def _timeout(self) -> float:
        return self._cluster.config.timeout.total_seconds()

    def _runners(self, endpoint: str) -> list[PodRef]:
        """Where etcdctl can be run, the node of the member at `endpoint` first. Raises UnknownError when nowhere."""
        if not self._pods:
            self._pods = [self._job_pod()] if self._config.method == "job" else self._etcd_pods()
        node = self._nodes.get(endpoint, "")
        return sorted(self._pods, key=lambda pod: pod.node != node)

    def _etcd_pods(self) -> list[PodRef]:
        config = self._config
        found = self._api.pods(config.namespace, config.selector)
        running = [
            PodRef(config.namespace, pod.metadata.name, config.container, pod.spec.node_name or "")
            for pod in found
            if _runs(pod, config.container)
        ]
        if not running:
            raise self._nobody(", ".join(f"{pod.metadata.name} {pod.status.phase}" for pod in found))
        return running

    def _nobody(self, seen: str = "") -> UnknownError:
        config = self._config
        return UnknownError(
            f"no etcd pod runs in {config.namespace} with {config.selector}" + (f": {seen}" if seen else ""),
            hint=f"kubectl get pods -n {config.namespace} -l {config.selector}; see `kubernetes.namespace`, `selector`",
        )

    def _job_pod(self) -> PodRef:
        config = self._config
        body = manifest(
            config,
            target=self._cluster.target,
            image=config.image or self._image(),
            seconds=self._cluster.config.snapshot.deadline.total_seconds() + 600,
            host_paths=[config.pki_dir],
        )
        return self._stack.enter_context(pod_of_job(self._api, config, body))

    def _image(self) -> str:
        """The image of the etcd that runs: the etcdctl in it fits."""
        config = self._config
        for pod in self._api.pods(config.namespace, config.selector):
            for container in pod.spec.containers:
                if container.name == config.container:
                    return container.image
        raise UsageError(
            f"no pod of {config.namespace} with {config.selector} tells which image etcd has",
            hint=f"name one that has etcdctl: etcd.{self._cluster.name}.kubernetes.image",
        )


def _parsed(endpoint: str, words: Sequence[str], printed: bytes) -> Any:
    try:
        return json.loads(printed)
    except ValueError as error:
        raise EndpointError(endpoint, f"etcdctl {' '.join(words[:2])} printed no JSON") from error


def _runs(pod: Any, container: str) -> bool:
    if pod.status.phase != "Running" or pod.metadata.deletion_timestamp is not None:
        return False
    return any(
        each.name == container and each.state and each.state.running
        for each in pod.status.container_statuses or ()
    )


def _telling(tail: str) -> str:
    """The one line of etcdctl's output that says why: its last `Error:`, else its last line that is no log."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    errors = [line.removeprefix("Error:").strip() for line in lines if line.startswith("Error:")]
    logged: list[str] = []
    for line in lines:
        with contextlib.suppress(ValueError, AttributeError):
            logged.append(str(json.loads(line).get("error", "")))
    told = errors[-1] if errors else next((line for line in reversed(lines) if not line.startswith("{")), "")
    detail = next((each for each in reversed(logged) if each and each not in told and told not in each), "")
    return " ".join(f"{told}: {detail}".strip(": ").split())[:300]


def _hint(told: str) -> str:
    hints = {
        "certificate has expired": "renew it on the control-plane node: kubeadm certs check-expiration, kubeadm certs renew",
        "unknown authority": "see `kubernetes.pki_dir` and `ca`: this CA did not sign the server's certificate",
        "no such file": "see `kubernetes.pki_dir`, `ca`, `cert` and `key` in the inventory",
        "connection refused": "see whether etcd runs on that node: crictl ps -a --name etcd",
        "deadline exceeded": "see whether the member answers: it may be down, overloaded or without quorum",
        "user name is empty": "auth is on; `access: kubernetes` uses certificates only, map the certificate's CN to a user",
    }
    return next((hint for words, hint in hints.items() if words in told), "")
