"""Files of a control-plane node, read through a pod of ours that has them mounted read-only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.etcd.kubernetes_api import Kubernetes, RanBadlyError
from ccobs_ops.core.etcd.kubernetes_job import HELPER, manifest, pod_of_job
from ccobs_ops.core.scratch import scratch

if TYPE_CHECKING:
    from ccobs_ops.core.etcd.cluster import EtcdCluster

_SECONDS = 120.0
_QUIET_SECONDS = 60.0


def read_host_files(cluster: EtcdCluster, paths: Sequence[str], *, limit: int) -> bytes:
    """A tar of `paths` of a control-plane node, at most `limit` bytes, read through a Job's pod. Raises UnknownError."""
    config = cluster.config.kubernetes
    assert config is not None
    out = bytearray()
    with ExitStack() as stack:
        keep = stack.enter_context(scratch("kubernetes"))
        api = stack.enter_context(Kubernetes.connected(config, cluster.inventory.path.parent, keep))
        body = manifest(
            config,
            target=cluster.target,
            image=config.helper_image,
            seconds=_SECONDS * 2 + config.start_timeout.total_seconds(),
            host_paths=paths,
        )
        pod = stack.enter_context(pod_of_job(api, config, body))
        argv = [HELPER, "tar", "-cf", "-", "-C", "/", *(path.lstrip("/") for path in paths)]
        try:
            with api.streaming(pod, argv, deadline=_SECONDS, quiet=_QUIET_SECONDS) as blocks:
                for block in blocks:
                    out += block
                    if len(out) > limit:
                        raise UnknownError(
                            f"the material is larger than {limit} bytes",
                            hint="name fewer paths, or raise `material.limit`",
                        )
        except RanBadlyError as error:
            raise UnknownError(error.message, hint="see `material.paths` in the inventory") from error
    return bytes(out)
