"""python-terraform, wrapped once and safely: everything that starts Terraform goes through here.

What python-terraform 0.10.1 does not do, or does wrong, is done here: each command has a deadline and a process group of its
own that ends as a whole; its environment is explicit, and secrets are in it and never on a command line or in a var file; the
state file is never read on the side; exit statuses are looked at and not trusted for what a plan contains.

Plan files and their JSON hold secrets in clear. They never reach a disk here: they are written to memory (memfd) that goes
with this process, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_terraform import (  # pyright: ignore[reportMissingTypeStubs]
    IsFlagged,
    Terraform,
)

from ccobs_ops.core import process
from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.terraform.binary import Binary
from ccobs_ops.core.terraform.diagnostics import Diagnostic, parse

_HEAD = 65536
_VERSION_SECONDS = 120.0
_LOOK_SECONDS = 0.25
SCAN_GRACE_SECONDS = 5.0
APPLY_GRACE_SECONDS = 120.0
"""How long an apply may take to stop after SIGINT, in seconds: it finishes what it began and writes the state."""


class MemoryFile:
    """A file without a name, in memory: `path` opens it while this process lives; `close` gives the memory back."""

    def __init__(self, name: str) -> None:
        self._descriptor = os.memfd_create(name, os.MFD_CLOEXEC)

    @property
    def path(self) -> Path:
        """How this process, and a child of the same account, opens it."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    @property
    def descriptor(self) -> int:
        """For handing it to a child as its standard output."""
        return self._descriptor

    @property
    def size(self) -> int:
        """Bytes in it."""
        return os.fstat(self._descriptor).st_size

    def head(self) -> bytes:
        """Its first 64 KiB."""
        return os.pread(self._descriptor, _HEAD, 0)

    def close(self) -> None:
        """Forget it; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> MemoryFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class StateVersion:
    """Which state it is: `lineage` names it for good, `serial` counts its changes. Both empty for none at all."""

    lineage: str
    serial: int

    @classmethod
    def of(cls, head: bytes) -> StateVersion | None:
        """From the first bytes of a state; None when they are none."""
        lineage = re.search(rb'"lineage"\s*:\s*"([^"]*)"', head)
        serial = re.search(rb'"serial"\s*:\s*(\d+)', head)
        if lineage is None or serial is None:
            return None
        return cls(lineage[1].decode(), int(serial[1]))

    def __str__(self) -> str:
        return f"serial {self.serial} of {self.lineage or 'no lineage'}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command that ended: its exit status, what it printed as text (unless it went to a file), its diagnostics."""

    returncode: int
    stdout: str
    tail: str
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are errors; never empty when the command failed."""
        found = tuple(one for one in self.diagnostics if one.is_error)
        if found or self.returncode in (0, 2):
            return found
        told = self.tail or "it said nothing"
        return (Diagnostic("error", f"terraform ended with exit status {self.returncode}", told),)


class SafeTerraform(Terraform):  # pyright: ignore[reportUntypedBaseClass]
    """One root module, driven through python-terraform's own command builder.

    `env` is the whole environment of every command and holds the variables (TF_VAR_…); `deadline` in seconds. Once
    `cancelled` is set, whatever runs is ended, in whichever thread, and nothing more is started.
    """

    def __init__(
        self,
        binary: Binary,
        directory: Path,
        env: Mapping[str, str],
        *,
        deadline: float,
        cancelled: threading.Event | None = None,
    ) -> None:
        super().__init__(
            working_dir=str(directory), terraform_bin_path=binary.argv[0], is_env_vars_included=False
        )
        self._binary = binary
        self._env = dict(env)
        self._directory = directory
        self._deadline = deadline
        self.cancelled = cancelled or threading.Event()

    def read_state_file(self, file_path: str | None = None) -> None:
        """Nothing: the state holds secrets, and nobody here reads it on the side."""
        self.tfstate = None

    def cmd(self, cmd: str, *args: str, **kwargs: Any) -> tuple[int, str, str]:
        """As in python-terraform, for its own methods (`plan`, `init`, `apply`): exit status, output, errors."""
        outcome = self.command(cmd, *args, **kwargs)
        return outcome.returncode, outcome.stdout, outcome.tail

    def command(
        self,
        cmd: str,
        *args: str,
        into: MemoryFile | None = None,
        deadline: float | None = None,
        grace: float = SCAN_GRACE_SECONDS,
        **options: Any,
    ) -> Outcome:
        """Run `terraform CMD`, its standard output into `into` if given, and return how it ended.

        `options` are flags as python-terraform writes them. Raises UnknownError when time runs out. When the block that
        waits is left early, Terraform gets SIGINT, `grace` seconds to stop, then SIGTERM and SIGKILL; its plugins too.
        """
        if options.get("var"):
            raise ValueError("variables go into the environment, never into a var file")
        options = {name: value for name, value in options.items() if name != "var" and value not in ([], {})}
        words: list[str] = self.generate_cmd_string(cmd, *args, **options)
        argv = [*self._binary.argv, *words[1:]]
        limit = self._deadline if deadline is None else deadline
        collected = bytearray()
        with process.spawn(
            argv,
            env=self._env,
            cwd=self._directory,
            stdout=subprocess.PIPE if into is None else into.descriptor,
        ) as child:
            try:
                if into is None:
                    child.collect(collected)
                status = self._await(child, cmd, limit)
                child.finish(2.0)
            finally:
                if child.poll() is None:
                    child.stop(first=signal.SIGINT, grace=grace)
            tail = child.tail
        text = collected.decode("utf-8", "replace")
        return Outcome(status, text, REDACT(tail), parse(text, tail))

    def _await(self, child: process.Child, cmd: str, limit: float) -> int:
        """The exit status of `child`; raises UnknownError when time runs out or somebody cancels."""
        until = time.monotonic() + limit
        while True:
            if self.cancelled.is_set():
                raise UnknownError(f"terraform {cmd} was interrupted in {self._directory}", hint="scan again")
            left = until - time.monotonic()
            if left <= 0:
                raise UnknownError(
                    f"terraform {cmd} was still running after {limit:.0f} s in {self._directory}",
                    hint="see what it waits for; raise `deadline` in the inventory if it only needs longer",
                )
            with contextlib.suppress(process.ProcessError):
                return child.wait(min(_LOOK_SECONDS, left))


class PlanFile:
    """A saved plan in memory, with the state that it was made from."""

    def __init__(self, file: MemoryFile, outcome: Outcome) -> None:
        self.file = file
        self.outcome = outcome

    @property
    def usable(self) -> bool:
        """Whether there is a plan at all."""
        return self.file.size > 0

    def state(self) -> StateVersion | None:
        """Serial and lineage of the state that the plan was made from; None when it cannot be told."""
        try:
            with zipfile.ZipFile(self.file.path) as archive, archive.open("tfstate") as stream:
                return StateVersion.of(stream.read(_HEAD))
        except (zipfile.BadZipFile, KeyError, OSError):
            return None

    def content(self) -> bytes:
        """The bytes of the plan file, for keeping a proposal."""
        return self.file.path.read_bytes()


@contextmanager
def plan(
    terraform: SafeTerraform,
    *,
    refresh_only: bool,
    lock: bool,
    lock_timeout: float,
    parallelism: int,
    var_files: Sequence[str],
) -> Iterator[PlanFile]:
    """Make a plan, in memory, for the length of the block. A plan that failed is handed out too: look at its outcome."""
    options: dict[str, Any] = {
        "input": False,
        "no_color": IsFlagged,
        "json": IsFlagged,
        "lock": lock,
        "parallelism": parallelism,
        "var_file": list(var_files),
    }
    if lock:
        options["lock_timeout"] = f"{lock_timeout:.0f}s"
    if refresh_only:
        options["refresh_only"] = IsFlagged
    with MemoryFile("tfplan") as file:
        outcome = terraform.command("plan", out=file.path, **options)
        yield PlanFile(file, outcome)


@contextmanager
def shown(terraform: SafeTerraform, what: Path | None) -> Iterator[MemoryFile]:
    """`show -json` of a plan file, or of the state for None, in memory for the length of the block.

    Raises UnknownError when Terraform does not show it.
    """
    with MemoryFile("tfjson") as file:
        words = [] if what is None else [str(what)]
        outcome = terraform.command("show", *words, into=file, json=IsFlagged, no_color=IsFlagged)
        if outcome.returncode != 0:
            what_told = "the plan" if what else "the state"
            raise outcome.errors[0].as_error(f"{what_told} cannot be shown")
        yield file


def pulled(terraform: SafeTerraform) -> StateVersion:
    """Serial and lineage of the state as it is now. Raises UnknownError when it cannot be read."""
    with MemoryFile("tfstate") as file:
        outcome = terraform.command("state pull", into=file, deadline=_VERSION_SECONDS)
        if outcome.returncode != 0:
            raise outcome.errors[0].as_error("the state cannot be read")
        if not file.size:
            return StateVersion("", 0)
        found = StateVersion.of(file.head())
    if found is None:
        raise UnknownError(
            "the state has neither serial nor lineage",
            hint="see whether the backend's object is a Terraform state",
        )
    return found


def apply(
    terraform: SafeTerraform, plan_file: Path, *, lock_timeout: float, parallelism: int, deadline: float
) -> Outcome:
    """Apply exactly the saved plan in `plan_file`, under the state lock; Terraform refuses one whose state has changed.

    Never interrupted lightly: out of time, it gets two minutes to finish what it began and to write the state.
    """
    return terraform.command(
        "apply",
        str(plan_file),
        deadline=deadline,
        grace=APPLY_GRACE_SECONDS,
        input=False,
        no_color=IsFlagged,
        json=IsFlagged,
        lock=True,
        lock_timeout=f"{lock_timeout:.0f}s",
        parallelism=parallelism,
    )
