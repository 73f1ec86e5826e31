"""A Kubernetes API server as far as we need one: pods, jobs, and programs run inside a container.

Through the official client. What a program prints is streamed frame by frame off its WebSocket, so that a snapshot of any
size passes in bounded memory; its exit status comes on a channel of its own, and a stream that ends without one is broken.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.redaction import REDACT

if TYPE_CHECKING:
    from ccobs_ops.inventory_etcd_kubernetes import EtcdKubernetes

CONNECT_SECONDS = 20.0
ANSWER_SECONDS = 30.0
PING_SECONDS = 15.0
_MOST_OUTPUT = 64 * 1024 * 1024
_TAIL_BYTES = 8192
_STDOUT, _STDERR, _STATUS = 1, 2, 3
_ABSENT = re.compile(r"executable file not found|no such file or directory", re.IGNORECASE)
_HANDSHAKE = re.compile(r"Handshake status (\d{3})")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class PodRef:
    """A container of a pod, and the node it runs on."""

    namespace: str
    name: str
    container: str
    node: str = ""

    def __str__(self) -> str:
        return f"pod {self.namespace}/{self.name}"


class RanBadlyError(OpsError):
    """A program in a container ended with another status than 0. `tail` is the redacted end of what it said.

    `absent` tells that the container has no such program.
    """

    def __init__(self, message: str, *, tail: str, status: int | None, absent: bool) -> None:
        super().__init__(message)
        self.tail = tail
        self.status = status
        self.absent = absent


class Kubernetes:
    """One API server. Get one by `connected`. Thread-safe: every program in a container has a client of its own."""

    def __init__(self, configuration: Any) -> None:
        client = _kubernetes().client
        self._configuration = configuration
        self._client = client.ApiClient(configuration)
        self._core = client.CoreV1Api(self._client)
        self._batch = client.BatchV1Api(self._client)

    @classmethod
    @contextmanager
    def connected(cls, config: EtcdKubernetes, base: Path, keep: Path) -> Iterator[Kubernetes]:
        """The server that `config` names; nothing is asked of it yet.

        Without a `kubeconfig` it is the one whose pod we run in, else the account's own. A relative path is relative to
        `base`; certificates written out of a kubeconfig lie in the folder `keep`. Raises UsageError for one that is none.
        """
        settings = _kubernetes().config
        found = _kubernetes().client.Configuration()
        found.retries = 2
        try:
            if config.kubeconfig is None and config.context is None and _inside():
                settings.load_incluster_config(client_configuration=found)
            else:
                path = (
                    str((base / Path(config.kubeconfig).expanduser()).resolve())
                    if config.kubeconfig
                    else None
                )
                settings.load_kube_config(
                    path, config.context, found, persist_config=False, temp_file_path=str(keep)
                )
        except (settings.ConfigException, OSError, ValueError, TypeError) as error:
            where = config.kubeconfig or "the account's own kubeconfig"
            raise UsageError(
                f"{where} cannot be used: {REDACT(_brief(error))}",
                hint="correct `kubernetes.kubeconfig` or `kubernetes.context` in the inventory; see kubectl config view",
            ) from error
        made = cls(found)
        try:
            yield made
        finally:
            made._client.close()

    @property
    def server(self) -> str:
        """The API server's URL, for messages."""
        return REDACT(str(self._configuration.host))

    def pods(self, namespace: str, selector: str) -> list[Any]:
        """The pods of `namespace` that `selector` matches, by name. Raises UnknownError."""
        found = self._ask(
            f"pods of {namespace} with {selector}",
            lambda: self._core.list_namespaced_pod(
                namespace,
                label_selector=selector,
                limit=100,
                _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            ),
        )
        return sorted(found.items, key=lambda pod: pod.metadata.name)

    def events(self, namespace: str, name: str) -> list[str]:
        """What the cluster says about the object `name`, newest last; nothing where we may not ask."""
        with contextlib.suppress(OpsError):
            found = self._ask(
                f"events of {name}",
                lambda: self._core.list_namespaced_event(
                    namespace,
                    field_selector=f"involvedObject.name={name}",
                    limit=20,
                    _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                ),
            )
            return [f"{event.reason}: {event.message}" for event in found.items]
        return []

    def create_job(self, namespace: str, body: dict[str, Any]) -> str:
        """Create a Job; returns its name. Raises UnknownError when it is not taken."""
        made = self._ask(
            f"a job in {namespace}",
            lambda: self._batch.create_namespaced_job(
                namespace, body, _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS)
            ),
        )
        return made.metadata.name

    def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job with its pods; one that is gone is no error. Raises UnknownError."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        def delete() -> None:
            try:
                self._batch.delete_namespaced_job(
                    name,
                    namespace,
                    propagation_policy="Background",
                    grace_period_seconds=0,
                    _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                )
            except ApiException as error:
                if error.status != 404:
                    raise

        self._ask(f"the end of job {namespace}/{name}", delete)

    def run(self, pod: PodRef, argv: Sequence[str], *, deadline: float) -> bytes:
        """Run a program in a container to its end, within `deadline` seconds, and return what it printed."""
        out = bytearray()
        with self.streaming(pod, argv, deadline=deadline) as blocks:
            for block in blocks:
                out += block
                if len(out) > _MOST_OUTPUT:
                    raise UnknownError(f"{argv[0]} in {pod} printed more than {_MOST_OUTPUT} bytes")
        return bytes(out)

    @contextmanager
    def streaming(
        self, pod: PodRef, argv: Sequence[str], *, deadline: float, quiet: float | None = None
    ) -> Iterator[Iterator[memoryview]]:
        """Run a program in a container; its standard output as blocks, as they come.

        The blocks end when the program has ended with status 0. Raises RanBadlyError when it ended otherwise, UnknownError
        when the API server refused or broke off, nothing came for `quiet` seconds, or `deadline` seconds are over.
        """
        until = time.monotonic() + deadline
        socket = self._connect(pod, argv, min(CONNECT_SECONDS, deadline))
        try:
            yield _blocks(socket, pod, argv, until, quiet or deadline)
        finally:
            with contextlib.suppress(
                Exception
            ):  # it may have broken in any way; what counts was said already
                socket.shutdown()

    def _connect(self, pod: PodRef, argv: Sequence[str], seconds: float) -> Any:
        """The WebSocket on which `argv` runs. The client has no timeout for this: a thread of ours is left behind instead."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        client, stream = _kubernetes().client, _kubernetes().stream.stream
        # `stream` exchanges a method of the client that it is given: each call has its own
        own = client.CoreV1Api(client.ApiClient(self._configuration))
        outcome: list[Any] = []
        over = threading.Event()
        abandoned = threading.Event()

        def connect() -> None:
            try:
                made = stream(
                    own.connect_get_namespaced_pod_exec,
                    pod.name,
                    pod.namespace,
                    container=pod.container,
                    command=list(argv),
                    stdin=False,
                    stdout=True,
                    stderr=True,
                    tty=False,
                    binary=True,
                    _preload_content=False,
                ).sock
                outcome.append(made)
                if abandoned.is_set():
                    made.shutdown()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                outcome.append(error)
            over.set()

        threading.Thread(target=connect, name="kubernetes-exec", daemon=True).start()
        if not over.wait(seconds):
            abandoned.set()
            raise UnknownError(
                f"{self.server} did not begin to run {argv[0]} in {pod} within {seconds:.0f} s",
                hint="see whether a proxy between here and the API server lets WebSockets through",
            )
        found = outcome[0]
        if isinstance(found, AttributeError) and isinstance(found.__context__, ApiException):
            found = found.__context__  # the client stumbles over a refused handshake, which has no body
        if isinstance(found, ApiException):
            raise self._refused(found, f"{argv[0]} could not be run in {pod}") from found
        if isinstance(found, Exception):
            raise UnknownError(
                f"{argv[0]} could not be run in {pod} by {self.server}: {REDACT(_brief(found))}"
            ) from found
        if isinstance(found, BaseException):
            raise found
        return found

    def _ask(self, what: str, call: Callable[[], ResultT]) -> ResultT:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return call()
        except ApiException as error:
            raise self._refused(error, f"{what}: asked in vain") from error
        except (HTTPError, OSError) as error:
            raise UnknownError(
                f"the API server {self.server} does not answer: {REDACT(_brief(error))}",
                hint="kubectl get --raw /readyz; while it is down, `access: direct` works from a control-plane node",
            ) from error

    def _refused(self, error: Any, what: str) -> UnknownError:
        status = int(error.status or 0)
        told = str(error.reason or "")
        if match := _HANDSHAKE.search(told):
            status, told = int(match[1]), f"HTTP {match[1]}"
        else:
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                told = json.loads(error.body)["message"]
        hints = {
            401: "the API server does not know us: renew the kubeconfig's credentials",
            403: "grant the role of deploy/kubernetes-etcd-access.yaml",
            404: "see whether namespace and pod are there: kubectl get pods -n kube-system -l component=etcd",
        }
        return UnknownError(
            f"{what}: {self.server} answers {status or 'an error'}: {REDACT(' '.join(told.split())[:300])}",
            hint=hints.get(status, ""),
        )


def _blocks(
    socket: Any, pod: PodRef, argv: Sequence[str], until: float, quiet: float
) -> Iterator[memoryview]:
    """What `argv` prints. Silence is answered by pings, since balancers drop what is idle, and ends after `quiet` seconds."""
    from websocket import ABNF, WebSocketException, WebSocketTimeoutException  # noqa: PLC0415

    said = bytearray()
    status: bytes | None = None
    heard = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= until or now - heard > quiet:
            raise UnknownError(
                f"{argv[0]} in {pod} had not ended when its time was over"
                if now >= until
                else f"{argv[0]} in {pod} printed nothing for {quiet:.0f} s"
            )
        socket.settimeout(min(until - now, PING_SECONDS))
        try:
            opcode, frame = socket.recv_data_frame(True)
        except WebSocketTimeoutException:
            if status is not None:
                break
            with contextlib.suppress(WebSocketException, OSError):
                socket.ping()
            continue
        except (WebSocketException, OSError) as error:
            if status is not None:
                break
            raise UnknownError(
                f"the connection to {pod} broke off while {argv[0]} ran: {_brief(error)}",
                hint="try again; the API server or the node's kubelet may have restarted",
            ) from error
        if opcode == ABNF.OPCODE_CLOSE:
            break
        if opcode not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
            continue
        heard = time.monotonic()
        channel, data = frame.data[0], memoryview(frame.data)[1:]
        if channel == _STDOUT and data:
            yield data
        elif channel == _STDERR:
            said += data
            del said[:-_TAIL_BYTES]
        elif channel == _STATUS and data:
            status = (status or b"") + bytes(data)
    _conclude(status, pod, argv, bytes(said))


def _conclude(status: bytes | None, pod: PodRef, argv: Sequence[str], said: bytes) -> None:
    if status is None:
        raise UnknownError(f"the connection to {pod} ended before {argv[0]} told how it ended")
    try:
        document: Any = json.loads(status)
    except ValueError:
        document = {"message": status.decode("utf-8", "replace")}
    if document.get("status") == "Success":
        return
    causes = (document.get("details") or {}).get("causes") or ()
    code = next((cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"), None)
    number = int(code) if code is not None and code.isdigit() else None
    tail = REDACT(said.decode("utf-8", "replace").strip())
    told = REDACT(str(document.get("message", "")))
    absent = bool(_ABSENT.search(told)) or (number in (126, 127, 128) and bool(_ABSENT.search(tail)))
    raise RanBadlyError(
        f"{Path(argv[0]).name} in {pod} ended badly: {tail.splitlines()[-1] if tail else told or f'status {code}'}",
        tail=tail,
        status=number,
        absent=absent,
    )


def _kubernetes() -> Any:
    """The official client. Imported when a cluster needs it: that takes a second. It has no types to speak of."""
    for module in ("client", "config", "stream"):
        importlib.import_module(f"kubernetes.{module}")
    return importlib.import_module("kubernetes")


def _inside() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__
