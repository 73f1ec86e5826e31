"""A fake Kubernetes API server, for what cannot run here: no wheel carries a real one.

The protocol is real: HTTPS with a bearer token, the REST paths, and exec over WebSocket with `v4.channel.k8s.io` (or v5), as
the official client speaks them. What runs inside its "containers" is real too: programs of this machine, among them etcd's
own etcdctl. What is fake is the cluster: pods are entries of a table, and a Job's pod runs at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.certificates import self_signed

STDOUT, STDERR, STATUS = b"\x01", b"\x02", b"\x03"
CHUNK = 32 * 1024
KUBEADM_IMAGE = ("etcd", "etcdctl", "cp", "sh")
"""What registry.k8s.io/etcd holds: no cat, no rm."""


@dataclass
class Pod:
    """One pod. `programs` maps a name to the words that are run instead; what is not in it is not in the image."""

    name: str
    namespace: str = "kube-system"
    labels: dict[str, str] = field(default_factory=lambda: {"component": "etcd", "tier": "control-plane"})
    node: str = "cp-1"
    container: str = "etcd"
    image: str = "registry.k8s.io/etcd:3.5.1-0"
    phase: str = "Running"
    programs: dict[str, list[str]] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    waiting: tuple[str, str] | None = None
    owner: str = ""

    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        running = self.phase == "Running" and self.waiting is None
        state: dict[str, Any] = {"running": {"startedAt": "2026-11-23T00:00:00Z"}} if running else {}
        if self.waiting:
            state = {"waiting": {"reason": self.waiting[0], "message": self.waiting[1]}}
        status = {
            "name": self.container,
            "image": self.image,
            "imageID": self.image,
            "ready": running,
            "restartCount": 0,
            "state": state,
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels},
            "spec": {"nodeName": self.node, "containers": [{"name": self.container, "image": self.image}]},
            "status": {"phase": self.phase, "containerStatuses": [status]},
        }

    def words(self, argv: list[str]) -> list[str] | None:
        """What is run for `argv`; None when the image has no such program."""
        if argv[0] not in self.programs:
            return None
        words = [*self.programs[argv[0]], *argv[1:]]
        for inside, outside in self.paths.items():
            words = [word.replace(inside, outside) for word in words]
        return words


@dataclass
class Faults:
    """What goes wrong on purpose."""

    cut_after: int | None = None
    hang: bool = False
    forbidden: set[str] = field(default_factory=set)
    no_status: bool = False
    v5: bool = False
    job_pod: Pod | None = None
    silence: float = 0.0


class FakeKubernetes:
    """The server and its table. `asked` and `ran` keep what was asked and run, `jobs` what exists now."""

    def __init__(self, pods: list[Pod], *, token: str = "a-token-of-this-test") -> None:
        self.pods = {(pod.namespace, pod.name): pod for pod in pods}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.faults = Faults()
        self.token = token
        self.asked: list[str] = []
        self.ran: list[list[str]] = []
        self.url = ""

    @contextmanager
    def serving(self, folder: Path) -> Iterator[Path]:
        """Serve on a free port of 127.0.0.1; yields the path of a kubeconfig."""
        certificate, key = self_signed(folder, "kubernetes")
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                ws="websockets-sansio",
                loop="asyncio",  # pipes, as a container runtime gives a program, not sockets
                ssl_certfile=str(certificate),
                ssl_keyfile=str(key),
                log_level="critical",
                timeout_graceful_shutdown=1,
                lifespan="off",
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until, "the fake API server did not start"
            time.sleep(0.02)
        try:
            yield self._kubeconfig(folder, certificate)
        finally:
            server.should_exit = server.force_exit = True
            thread.join(15)
            listening.close()
            assert not thread.is_alive()

    def _kubeconfig(self, folder: Path, certificate: Path) -> Path:
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "lab",
                    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "ops"}}],
                    "clusters": [
                        {
                            "name": "lab",
                            "cluster": {"server": self.url, "certificate-authority": str(certificate)},
                        }
                    ],
                    "users": [{"name": "ops", "user": {"token": self.token}}],
                }
            )
        )
        path.chmod(0o600)
        return path

    # -- REST ----------------------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        core, batch = "/api/v1/namespaces/{namespace}", "/apis/batch/v1/namespaces/{namespace}"
        return Starlette(
            routes=[
                Route(f"{core}/pods", self._list_pods),
                Route(f"{core}/events", self._list_events),
                WebSocketRoute(f"{core}/pods/{{name}}/exec", self._exec),
                Route(f"{batch}/jobs", self._create_job, methods=["POST"]),
                Route(f"{batch}/jobs/{{name}}", self._delete_job, methods=["DELETE"]),
            ]
        )

    def _refusal(self, request: Request | WebSocket, verb: str) -> JSONResponse | None:
        self.asked.append(f"{verb} {request.url.path}")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if verb in self.faults.forbidden:
            return _status(
                403, f'{verb} is forbidden: User "ops" cannot do that in the namespace "kube-system"'
            )
        return None

    async def _list_pods(self, request: Request) -> JSONResponse:
        if refusal := self._refusal(request, "list pods"):
            return refusal
        wanted = dict(
            part.split("=", 1) for part in request.query_params.get("labelSelector", "").split(",") if part
        )
        found = [
            pod.document()
            for pod in self.pods.values()
            if pod.namespace == request.path_params["namespace"] and wanted.items() <= pod.labels.items()
        ]
        return JSONResponse({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": found})

    async def _list_events(self, request: Request) -> JSONResponse:
        return JSONResponse({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": []})

    async def _create_job(self, request: Request) -> JSONResponse:
        if refusal := self._refusal(request, "create jobs"):
            return refusal
        body = await request.json()
        namespace = request.path_params["namespace"]
        name = f"{body['metadata']['generateName']}x7k2p"
        template = body["spec"]["template"]
        assert template["spec"]["restartPolicy"] in ("Never", "OnFailure"), "a real server refuses this"
        body["metadata"]["name"] = name
        self.jobs[name] = body
        pod = self.faults.job_pod or Pod("template")
        made = Pod(
            f"{name}-q9z4d",
            namespace,
            {**template["metadata"]["labels"], "job-name": name},
            container=template["spec"]["containers"][0]["name"],
            image=template["spec"]["containers"][0]["image"],
            phase=pod.phase,
            programs=pod.programs,
            paths=pod.paths,
            waiting=pod.waiting,
            owner=name,
        )
        self.pods[(namespace, made.name)] = made
        return JSONResponse(body, status_code=201)

    async def _delete_job(self, request: Request) -> JSONResponse:
        if refusal := self._refusal(request, "delete jobs"):
            return refusal
        name = request.path_params["name"]
        if self.jobs.pop(name, None) is None:
            return _status(404, f'jobs.batch "{name}" not found')
        self.pods = {key: pod for key, pod in self.pods.items() if pod.owner != name}
        return JSONResponse({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"})

    # -- exec ----------------------------------------------------------------------------------------------------

    async def _exec(self, ws: WebSocket) -> None:
        if refusal := self._refusal(ws, "exec"):
            await ws.send_denial_response(refusal)
            return
        if self.faults.hang:
            await asyncio.sleep(3600)
        pod = self.pods.get((ws.path_params["namespace"], ws.path_params["name"]))
        if pod is None:
            await ws.send_denial_response(_status(404, f'pods "{ws.path_params["name"]}" not found'))
            return
        offered = ws.scope["subprotocols"]
        chosen = "v5.channel.k8s.io" if self.faults.v5 else "v4.channel.k8s.io"
        assert chosen in offered
        await ws.accept(subprotocol=chosen)
        for channel in (STDOUT, STDERR, STATUS):
            await ws.send_bytes(channel)  # a real server begins so
        argv = ws.query_params.getlist("command")
        self.ran.append(argv)
        words = pod.words(argv)
        if words is None:
            message = (
                "Internal error occurred: failed to exec in container: OCI runtime exec failed: exec failed: unable to start "
                f'container process: exec: "{argv[0]}": executable file not found in $PATH: unknown'
            )
            await self._end(
                ws, {"status": "Failure", "reason": "InternalError", "message": message, "code": 500}
            )
            return
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._run(ws, words)

    async def _run(self, ws: WebSocket, words: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        lock = asyncio.Lock()
        try:
            told = asyncio.create_task(self._pass_on(ws, process.stderr, STDERR, lock, None))
            whole = await self._pass_on(ws, process.stdout, STDOUT, lock, self.faults.cut_after)
            if not whole:
                told.cancel()
                await ws.close(1011)
                return
            await told
            code = await process.wait()
            if self.faults.silence:
                await asyncio.sleep(self.faults.silence)
            if self.faults.no_status:
                await ws.close()
            elif code == 0:
                await self._end(ws, {"metadata": {}, "status": "Success"})
            else:
                causes = [{"reason": "ExitCode", "message": str(code)}]
                message = f"command terminated with non-zero exit code: exit status {code}"
                await self._end(
                    ws,
                    {
                        "status": "Failure",
                        "reason": "NonZeroExitCode",
                        "message": message,
                        "details": {"causes": causes},
                    },
                )
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _pass_on(
        self,
        ws: WebSocket,
        pipe: asyncio.StreamReader,
        channel: bytes,
        lock: asyncio.Lock,
        cut_after: int | None,
    ) -> bool:
        sent = 0
        while block := await pipe.read(CHUNK):
            if cut_after is not None and sent + len(block) > cut_after:
                async with lock:
                    await ws.send_bytes(channel + block[: cut_after - sent])
                return False
            async with lock:
                await ws.send_bytes(channel + block)
            sent += len(block)
        return True

    async def _end(self, ws: WebSocket, status: dict[str, Any]) -> None:
        await ws.send_bytes(STATUS + json.dumps(status).encode())
        await ws.close()


def _status(code: int, message: str) -> JSONResponse:
    return JSONResponse(
        {"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": message, "code": code},
        status_code=code,
    )
