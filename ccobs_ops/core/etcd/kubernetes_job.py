"""A pod of our own on a control-plane node: a Job that holds the host's files open to us for a while, and is then gone.

It does nothing by itself: it sleeps, and programs are run in it. Three things end it, each without the others: we delete it,
`activeDeadlineSeconds` ends its pod, `ttlSecondsAfterFinished` removes what is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.etcd.kubernetes_api import Kubernetes, PodRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from ccobs_ops.inventory_etcd_kubernetes import EtcdKubernetes

TOOLS = "/ccobs"
HELPER = f"{TOOLS}/busybox"
"""Where the helper image's busybox is put for the main container, whose own image may have neither shell nor `cat`."""
_POLL_SECONDS = 0.5
_HOPELESS = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
    }
)


def manifest(
    config: EtcdKubernetes, *, target: str, image: str, seconds: float, host_paths: Sequence[str]
) -> dict[str, Any]:
    """The Job: one pod on a node that `node_selector` chooses, with `host_paths` read-only, that sleeps for `seconds`."""
    sleep = str(int(seconds))
    name = "".join(letter if letter.isalnum() else "-" for letter in target)
    labels = {"app.kubernetes.io/managed-by": "ccobs-ops", "ccobs-ops/target": name[:63].strip("-")}
    tools = {"name": "tools", "mountPath": TOOLS}
    strict = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = [
        {"name": f"host-{number}", "mountPath": path, "readOnly": True}
        for number, path in enumerate(host_paths)
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": f"ccobs-ops-{name}-"[:57], "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(seconds),
            "ttlSecondsAfterFinished": 60,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "hostNetwork": True,
                    "dnsPolicy": "ClusterFirstWithHostNet",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 1,
                    "nodeSelector": dict(config.node_selector),
                    "tolerations": [{"operator": "Exists"}],
                    "initContainers": [
                        {
                            "name": "helper",
                            "image": config.helper_image,
                            "command": ["/bin/cp", "/bin/busybox", HELPER],
                            "securityContext": strict,
                            "volumeMounts": [tools],
                        }
                    ],
                    "containers": [
                        {
                            "name": "etcd",
                            "image": image,
                            "command": [HELPER, "sleep", sleep],
                            "securityContext": strict | {"runAsUser": 0},
                            "volumeMounts": [tools, *mounts],
                        }
                    ],
                    "volumes": [
                        {"name": "tools", "emptyDir": {}},
                        *(
                            {"name": f"host-{number}", "hostPath": {"path": path}}
                            for number, path in enumerate(host_paths)
                        ),
                    ],
                },
            },
        },
    }


@contextmanager
def pod_of_job(
    api: Kubernetes,
    config: EtcdKubernetes,
    body: dict[str, Any],
    *,
    note: Callable[[str], None] = lambda _: None,
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[PodRef]:
    """Create the Job `body` and wait until its pod runs; both are gone when the block is left, however that happens.

    Raises UnknownError with the cluster's own reason when the pod does not run within `start_timeout`.
    """
    namespace = config.job_namespace
    name = api.create_job(namespace, body)
    try:
        yield _await(api, config, name, timer, sleep)
    finally:
        try:
            api.delete_job(namespace, name)
        except OpsError as error:
            limit = body["spec"]["activeDeadlineSeconds"]
            note(
                f"job {namespace}/{name} could not be deleted, it ends by itself after {limit} s: {error.message}"
            )


def _await(
    api: Kubernetes,
    config: EtcdKubernetes,
    job: str,
    timer: Callable[[], float],
    sleep: Callable[[float], None],
) -> PodRef:
    namespace = config.job_namespace
    limit = config.start_timeout.total_seconds()
    began = timer()
    while True:
        pods = api.pods(namespace, f"job-name={job}")
        for pod in pods:
            if pod.status.phase == "Running":
                return PodRef(namespace, pod.metadata.name, "etcd", pod.spec.node_name or "")
            if pod.status.phase in ("Failed", "Succeeded") or _hopeless(pod):
                raise _not_started(api, namespace, job, pod, f"is {pod.status.phase}")
        if timer() - began > limit:
            raise _not_started(
                api, namespace, job, pods[0] if pods else None, f"did not run within {limit:.0f} s"
            )
        sleep(_POLL_SECONDS)


def _hopeless(pod: Any) -> bool:
    return any(reason.partition(":")[0] in _HOPELESS for reason in _reasons(pod))


def _reasons(pod: Any) -> list[str]:
    """Why a pod does not run, in the cluster's own words."""
    told: list[str] = []
    for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        state = status.state
        found = (state.waiting or state.terminated) if state else None
        if found is not None and found.reason not in (None, "Completed", "PodInitializing"):
            told.append(f"{found.reason}: {found.message or status.name}")
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status != "True":
            told.append(f"{condition.reason}: {condition.message}")
    return told


def _not_started(api: Kubernetes, namespace: str, job: str, pod: Any, how: str) -> UnknownError:
    told = _reasons(pod) if pod is not None else []
    told += api.events(namespace, pod.metadata.name if pod is not None else job)[-2:]
    why = (
        "; ".join(dict.fromkeys(" ".join(line.split())[:200] for line in told))
        or "the cluster gives no reason"
    )
    return UnknownError(
        f"the pod of job {namespace}/{job} {how}: {why}",
        hint="see `kubernetes.node_selector`, `image` and `helper_image`: both images must be there to be pulled",
    )
