"""What is known of a running lab: its plan and its processes, in `lab.json`, written atomically after each start."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.lab.plan import Plan
from ccobs_ops.lab.processes import Identity

LOCK_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class State:
    """`processes` holds the last start of each service; `complete` is set once the whole lab answered."""

    plan: Plan
    processes: dict[str, Identity]
    complete: bool = False

    def started(self, service: str, identity: Identity) -> State:
        """This state with a new start of `service`."""
        return replace(self, processes=self.processes | {service: identity})

    def save(self) -> None:
        """Write `lab.json` so that a reader sees either the old or the new state, also after a crash."""
        plan = self.plan
        document = {
            "version": 1,
            "complete": self.complete,
            "scale": plan.scale,
            "seed": plan.seed,
            "services": list(plan.services),
            "ports": plan.ports,
            "home": str(plan.home),
            "bin_dir": str(plan.bin_dir),
            "run_as": plan.run_as,
            "processes": {
                name: {"pid": identity.pid, "created": identity.created}
                for name, identity in self.processes.items()
            },
        }
        path = state_file(plan.directory)
        fresh = path.with_suffix(".json.new")
        with fresh.open("w") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """The state of the lab in `directory`; None when there is none. Raises UsageError when it cannot be read."""
        path = state_file(directory)
        try:
            document = json.loads(path.read_text())
            plan = Plan(
                directory=directory,
                scale=document["scale"],
                seed=document["seed"],
                services=tuple(document["services"]),
                ports=document["ports"],
                home=Path(document["home"]),
                bin_dir=Path(document["bin_dir"]),
                run_as=document["run_as"],
            )
            if not plan.owns_home():
                raise ValueError(f"{plan.home} is no folder of a lab")
            processes = {
                name: Identity(row["pid"], row["created"]) for name, row in document["processes"].items()
            }
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is not a lab's state that this version can read: {error}",
                hint="end what still runs there by hand, then remove the file",
            ) from error
        return cls(plan, processes, document["complete"])


def state_file(directory: Path) -> Path:
    """Where the state of the lab in `directory` is kept."""
    return directory / "lab.json"


@contextmanager
def locked(
    directory: Path,
    *,
    timeout: float = LOCK_SECONDS,
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the lab in `directory` for one command; the lock goes with the process, also by kill -9.

    Raises OpsError after `timeout` seconds.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = timer() + timeout
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if timer() > deadline:
                raise OpsError(
                    f"another command has been holding the lab in {directory} for {timeout:.0f} s",
                    hint=f"see who: fuser -v {directory}",
                )
            sleep(0.05)
        yield
    finally:
        os.close(descriptor)
