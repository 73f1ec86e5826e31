"""The only place that starts a subprocess.

Arguments are a list, never a shell's line. Every process leads its own process group, dies with the thread that
started it (Linux: parent-death signal), and is ended by SIGINT, then SIGTERM, then SIGKILL to the whole group. What it
printed is kept as a bounded tail and redacted before it leaves this module.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.setpriv import wrapped

TAIL_LINES = 40
LINE_CHARS = 2000
GRACE_SECONDS = 5.0
_KEPT_LINE_BYTES = 8192  # more than is shown, so that no secret is cut in two before it is redacted
_POLL_MILLISECONDS = 100


class ProcessError(OpsError):
    """A program could not be started, ended badly, or ran out of time.

    `returncode` is the exit status (negative: the signal), None if it never started; `tail` the redacted end of what
    it wrote to stderr.
    """

    def __init__(
        self, message: str, *, hint: str = "", returncode: int | None = None, tail: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode
        self.tail = tail


@dataclass(frozen=True, slots=True)
class User:
    """An account to run a server as, when we are root and the server refuses to be."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def named(cls, name: str) -> User:
        """The account called `name`; raises ProcessError when there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ProcessError(
                f"there is no account {name!r} on this host",
                hint="create it, or name another one as sandbox.run_as in the inventory",
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended: exit status, standard output, redacted tail of standard error, seconds it took."""

    returncode: int
    stdout: str
    tail: str
    seconds: float


def environment(extra: Mapping[str, str] | None = None, *, user: User | None = None) -> dict[str, str]:
    """A small environment for a child: PATH, locale C, UTC, and `extra`; nothing else leaks in.

    LD_LIBRARY_PATH and the TLS trust settings pass through, since private builds and proxies need them; so does the
    mark by which a lab finds its processes.
    """
    passed = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "CCOBS_LAB")
    base = {name: os.environ[name] for name in passed if name in os.environ}
    base.setdefault("PATH", os.defpath)
    base |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if user is not None:
        base["HOME"] = "/"
    return base | dict(extra or {})


class _Pump:
    """A thread that moves bytes through one pipe. It never waits for good on a pipe that some descendant, gone from the
    process group, still holds open: `finish` ends it in any case, after which the pipe may be closed.
    """

    def __init__(self, pipe: IO[bytes], event: int, step: Callable[[int], bool]) -> None:
        self._pipe = pipe
        self._event = event
        self._step = step
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-pump", daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait up to `seconds` for the pipe's end, then stop."""
        self._thread.join(seconds)
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        number = self._pipe.fileno()
        os.set_blocking(number, False)
        poller = select.poll()
        poller.register(number, self._event)
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                if poller.poll(_POLL_MILLISECONDS) and not self._step(number):
                    return


class _Tail:
    """The last lines of a stream, in bounded memory however long they are."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._rest = b""

    def take(self, number: int) -> bool:
        """Read what file descriptor `number` has; False at its end."""
        block = os.read(number, 65536)
        *lines, rest = (self._rest + block).split(b"\n")
        self._lines.extend(line[-_KEPT_LINE_BYTES:] for line in lines[-TAIL_LINES:])
        self._rest = rest[-_KEPT_LINE_BYTES:]
        return bool(block)

    def text(self) -> str:
        """What was kept, redacted as a whole and then shortened line by line."""
        kept = [*self._lines, *([self._rest] if self._rest else [])][-TAIL_LINES:]
        whole = REDACT("\n".join(line.decode("utf-8", "replace").rstrip() for line in kept))
        return "\n".join(line[-LINE_CHARS:] for line in whole.split("\n"))


class Child:
    """A running program, started by `spawn`. Always ended by leaving the `with` block that started it."""

    def __init__(self, process: subprocess.Popen[bytes], argv: Sequence[str]) -> None:
        self._process = process
        self.argv = tuple(argv)
        self._tail = _Tail()
        self._pumps: list[_Pump] = []
        self._drainer: _Pump | None = None
        if process.stderr is not None:
            self._drainer = self._pump(process.stderr, select.POLLIN, self._tail.take)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def name(self) -> str:
        """The program's name without its folder."""
        return Path(self.argv[0]).name

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from the program's standard output."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to the program's standard input."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def tail(self) -> str:
        """The redacted end of what it wrote to standard error so far."""
        return self._tail.text()

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None) -> int:
        """Wait up to `timeout` seconds; returns the exit status. Raises ProcessError when time runs out."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self.name} was still running after {timeout:.0f} s",
                hint="look whether its server answers; raise the deadline if it only needs longer",
                tail=self.tail,
            ) from None
        if self._drainer is not None:
            self._drainer.finish(1.0)
        return status

    def collect(self, into: bytearray) -> None:
        """Read all of standard output into `into`, beside whatever else goes on."""

        def take(number: int) -> bool:
            block = os.read(number, 65536)
            into.extend(block)
            return bool(block)

        self._pump(self.stdout, select.POLLIN, take)

    def feed(self, data: bytes) -> None:
        """Write `data` to standard input and close it, beside whatever else goes on."""
        left = memoryview(data)

        def give(number: int) -> bool:
            nonlocal left
            left = left[os.write(number, left[:65536]) :]
            if not left:
                self.stdin.close()
            return bool(left)

        self._pump(self.stdin, select.POLLOUT, give)

    def finish(self, seconds: float) -> None:
        """Wait up to `seconds` for each of its pipes to end; whoever still holds one open is heard no more."""
        for pump in self._pumps:
            pump.finish(seconds)

    def check(self, timeout: float | None) -> None:
        """Wait, and raise ProcessError unless it ended with exit status 0."""
        status = self.wait(timeout)
        if status != 0:
            raise ProcessError(_ended(self.name, status, self.tail), returncode=status, tail=self.tail)

    def stop(self, *, first: signal.Signals = signal.SIGINT, grace: float = GRACE_SECONDS) -> None:
        """End the whole group: `first`, then SIGTERM, then SIGKILL, `grace` seconds apart. Idempotent."""
        for number in (first, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self.signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self.signal(signal.SIGKILL)  # whoever is left of the group
        self.finish(1.0)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program's whole group; a group that is gone is no error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _pump(self, pipe: IO[bytes], event: int, step: Callable[[int], bool]) -> _Pump:
        pump = _Pump(pipe, event, step)
        self._pumps.append(pump)
        return pump


def _ended(name: str, status: int, tail: str) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
    return f"{name} {how}" + (f":\n{tail}" if tail else "")


@contextmanager
def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.PIPE,
    tethered: bool = True,
) -> Iterator[Child]:
    """Start a program for the length of a `with` block; it is gone when the block is left, however that happens.

    `env` is its whole environment (default: `environment()`). Pass PIPE for `stdin` or `stdout` to stream. A tethered
    program gets SIGTERM when the calling thread dies, also by kill -9 of this process. Raises ProcessError when it
    cannot be started.
    """
    words = [os.fspath(word) for word in argv]
    child = Child(
        launch(
            words, env=env, user=user, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, tethered=tethered
        ),
        words,
    )
    try:
        yield child
    finally:
        child.stop()


def launch(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.PIPE,
    tethered: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program that may outlive this one (the lab's servers); everything else uses `spawn` or `run`."""
    words = [os.fspath(word) for word in argv]
    found = shutil.which(words[0], path=(env or os.environ).get("PATH"))
    if found is None:
        raise ProcessError(
            f"program {words[0]!r} was not found or may not be executed",
            hint="install it, or name its folder in the inventory (bin_dir)",
        )
    before, identity = wrapped(tethered=tethered, other=user if os.geteuid() == 0 else None)
    try:
        return subprocess.Popen(
            [*before, found, *words[1:]],
            env=dict(env) if env is not None else environment(user=user),
            cwd=cwd or "/",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            **identity,  # pyright: ignore[reportArgumentType, reportCallIssue]
        )
    except OSError as error:
        raise ProcessError(
            f"{Path(words[0]).name} could not be started: {error.strerror or error}",
            hint=f"see whether {found} may be executed"
            + (f" by {user.name}: every folder above it must be open to that account" if user else ""),
        ) from error


def run(
    argv: Sequence[str | Path],
    *,
    deadline: float,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    cwd: Path | None = None,
    stdin_text: str | None = None,
    ok: Sequence[int] = (0,),
    stdout: int | IO[bytes] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Completed:
    """Run a program to its end, within `deadline` seconds, and return what it printed.

    Standard output is collected as text (or goes to `stdout` if given). Raises ProcessError with the redacted tail of
    standard error when the exit status is not in `ok`, when it cannot be started, or when time runs out; in every
    case its whole process group is gone.
    """
    began = time.monotonic()
    collected = bytearray()
    with spawn(
        argv,
        env=env,
        user=user,
        cwd=cwd,
        stdin=subprocess.PIPE if stdin_text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
    ) as child:
        if stdout is None:
            child.collect(collected)
        if stdin_text is not None:
            child.feed(stdin_text.encode())
        while on_wait is not None and child.poll() is None and time.monotonic() - began < deadline:
            on_wait()
            with contextlib.suppress(ProcessError):
                child.wait(0.1)
        status = child.wait(max(0.01, deadline - (time.monotonic() - began)))
        child.finish(1.0)
        tail = child.tail
    seconds = time.monotonic() - began
    text = collected.decode("utf-8", "replace")
    if status not in ok:
        name = Path(os.fspath(argv[0])).name
        told = tail or REDACT("\n".join(text.splitlines()[-TAIL_LINES:]))
        raise ProcessError(_ended(name, status, told), returncode=status, tail=told)
    return Completed(status, text, tail, seconds)
