"""The lab's Terraform provider, `example.com/lab/lab`: a real plugin in Python.

    python -m ccobs_ops.lab.terraform.provider                               as a plugin, started by Terraform
    python -m ccobs_ops.lab.terraform.provider --serve PORT --reattach FILE  one for all, which Terraform attaches to

A plugin costs Terraform three starts of Python for each plan. The second form costs none: FILE gets what has to be in
TF_REATTACH_PROVIDERS. The lab's folder is found through the environment variable CCOBS_LAB.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

from tf.iface import Config, DataSource, Provider, Resource
from tf.schema import Schema
from tf.utils import Diagnostics

from ccobs_ops.lab.plan import MARK
from ccobs_ops.lab.terraform.resources import (
    BucketResource,
    ClockSource,
    DatabaseSettingResource,
    Estate,
    FileResource,
)

ADDRESS = "example.com/lab/lab"
ORPHAN_SECONDS = 0.5


class LabProvider(Provider):
    """All resources work on one lab."""

    def __init__(self, directory: Path) -> None:
        self.estate = Estate(directory)

    def get_model_prefix(self) -> str:
        """What every type begins with."""
        return "lab_"

    def full_name(self) -> str:
        """Its address."""
        return ADDRESS

    def get_provider_schema(self, diags: Diagnostics) -> Schema:
        """It has no settings."""
        return Schema(attributes=[])

    def validate_config(self, diags: Diagnostics, config: Config) -> None:
        """There is nothing to validate."""

    def configure_provider(self, diags: Diagnostics, config: Config) -> None:
        """There is nothing to configure."""

    def get_data_sources(self) -> list[type[DataSource]]:
        """Its data sources."""
        return [ClockSource]

    def get_resources(self) -> list[type[Resource]]:
        """Its resources."""
        return [BucketResource, DatabaseSettingResource, FileResource]


def main() -> None:
    """Serve until Terraform, or the lab, ends it."""
    directory = os.environ.get(MARK)
    if not directory:
        sys.exit(f"{MARK} is not set: this provider works on a lab only")
    provider = LabProvider(Path(directory))
    if "--serve" in sys.argv:
        _serve(
            provider,
            int(sys.argv[sys.argv.index("--serve") + 1]),
            Path(sys.argv[sys.argv.index("--reattach") + 1]),
        )
        return
    # Ctrl-C reaches Terraform and its plugins alike; Terraform decides when a plugin ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from tf.runner import run_provider  # noqa: PLC0415

    run_provider(provider)


def _end_with(parent: int) -> None:
    """A plugin whose Terraform was killed has nobody left to work for."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _serve(provider: LabProvider, port: int, reattach: Path) -> None:
    import grpc  # noqa: PLC0415 - after the arguments were looked at
    from tf.gen import grpc_controller_pb2 as controller  # noqa: PLC0415
    from tf.gen import grpc_controller_pb2_grpc as controller_rpc  # noqa: PLC0415
    from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc  # noqa: PLC0415
    from tf.gen import tfplugin_pb2_grpc as rpc  # noqa: PLC0415
    from tf.provider import ProviderServicer  # noqa: PLC0415

    class Controller(controller_rpc.GRPCControllerServicer):
        def Shutdown(self, request: Any, context: Any) -> Any:
            return controller.Empty()  # it serves others too

    class Stdio(stdio_rpc.GRPCStdioServicer):
        def StreamStdio(self, request: Any, context: Any) -> Any:
            return iter(())

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    rpc.add_ProviderServicer_to_server(ProviderServicer(provider), server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(Stdio(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    document = {
        ADDRESS: {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    }
    fresh = reattach.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    fresh.replace(reattach)
    server.start()
    print(f"serving {ADDRESS} on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
