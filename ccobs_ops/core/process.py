"""The only place that starts a subprocess.

Arguments are a list, never a shell's line. Every process leads its own process group, dies with the thread that
started it (Linux: parent-death signal), and is ended by SIGINT, then SIGTERM, then SIGKILL to the whole group. What it
printed is kept as a bounded tail and redacted before it leaves this module.
"""

from __future__ import annotations

import contextlib
import os
import pwd
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

TAIL_LINES = 40
GRACE_SECONDS = 5.0


class ProcessError(OpsError):
    """A program could not be started, ended badly, or ran out of time.

    `returncode` is the exit status (negative: the signal), None if it never started; `tail` the redacted end of what
    it wrote to stderr.
    """

    def __init__(self, message: str, *, hint: str = "", returncode: int | None = None, tail: str = "") -> None:
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


class Child:
    """A running program, started by `spawn`. Always ended by leaving the `with` block that started it."""

    def __init__(self, process: subprocess.Popen[bytes], argv: Sequence[str]) -> None:
        self._process = process
        self.argv = tuple(argv)
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._drainer: threading.Thread | None = None
        if process.stderr is not None:
            self._drainer = threading.Thread(target=self._drain, args=(process.stderr,), daemon=True)
            self._drainer.start()

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
        return REDACT("\n".join(self._lines))

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
            self._drainer.join(1.0)
        return status

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
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._drainer is not None:
            self._drainer.join(1.0)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program's whole group; a group that is gone is no error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _drain(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in pipe:
                self._lines.append(line[-2000:].decode("utf-8", "replace").rstrip())


def _ended(name: str, status: int, tail: str) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
    return f"{name} {how}" + (f":\n{tail}" if tail else "")


_SETPRIV: list[str | None] = []


def _tether() -> list[str]:
    """`setpriv --pdeathsig`, where util-linux has it: without any Python between fork and exec."""
    if not _SETPRIV:
        _SETPRIV.append(shutil.which("setpriv"))
    return [_SETPRIV[0], "--pdeathsig", "TERM"] if _SETPRIV[0] else []


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
    identity: dict[str, object] = {}
    if user is not None and os.geteuid() == 0:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": []}
    try:
        return subprocess.Popen(
            [*(_tether() if tethered else []), found, *words[1:]],
            env=dict(env) if env is not None else environment(user=user),
            cwd=cwd or "/",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            **identity,  # pyright: ignore[reportArgumentType]
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
        threads = []
        if stdout is None:
            threads.append(threading.Thread(target=_collect, args=(child.stdout, collected), daemon=True))
        if stdin_text is not None:
            threads.append(threading.Thread(target=_feed, args=(child.stdin, stdin_text), daemon=True))
        for thread in threads:
            thread.start()
        while on_wait is not None and child.poll() is None and time.monotonic() - began < deadline:
            on_wait()
            with contextlib.suppress(ProcessError):
                child.wait(0.1)
        status = child.wait(max(0.01, deadline - (time.monotonic() - began)))
        for thread in threads:
            thread.join(GRACE_SECONDS)
        tail = child.tail
    seconds = time.monotonic() - began
    text = collected.decode("utf-8", "replace")
    if status not in ok:
        name = Path(os.fspath(argv[0])).name
        told = tail or REDACT("\n".join(text.splitlines()[-TAIL_LINES:]))
        raise ProcessError(_ended(name, status, told), returncode=status, tail=told)
    return Completed(status, text, tail, seconds)


def _collect(pipe: IO[bytes], into: bytearray) -> None:
    with contextlib.suppress(ValueError, OSError):
        while block := pipe.read(65536):
            into += block


def _feed(pipe: IO[bytes], text: str) -> None:
    with contextlib.suppress(ValueError, OSError):
        pipe.write(text.encode())
        pipe.close()
