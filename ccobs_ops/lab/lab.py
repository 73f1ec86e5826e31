"""A lab as one object: up, down, status, and its services one by one. Faults are in `ccobs_ops.lab.faults`."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.lab import processes
from ccobs_ops.lab.inventory_file import write_inventory
from ccobs_ops.lab.plan import MARK, Plan
from ccobs_ops.lab.ports import Reserved
from ccobs_ops.lab.processes import Identity
from ccobs_ops.lab.services import Service, named, select
from ccobs_ops.lab.services import postgres as pg
from ccobs_ops.lab.state import State, locked, state_file

if TYPE_CHECKING:
    import psutil

    from ccobs_ops.lab.faults import Damage

POLL_SECONDS = 0.1
LOG_TAIL_LINES = 20
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service: `running` (its process lives and it answers), `silent` (lives, does not answer) or `dead`.

    `problem` says what is wrong; `memory_bytes` counts it and its descendants.
    """

    name: str
    state: Literal["running", "silent", "dead"]
    address: str
    pid: int | None
    memory_bytes: int
    problem: str
    log: Path

    @property
    def ok(self) -> bool:
        """Whether it does its work."""
        return self.state == "running"


class StartError(OpsError):
    """A service of the lab did not come up; the message ends with the last lines of its log."""


class Lab:
    """A lab in a directory. Get one by `up` or `open`; commands of several processes are serialised by a lock."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._children: dict[str, object] = {}  # keeps Popen objects from warning that they were dropped

    @classmethod
    def up(
        cls,
        directory: Path | str,
        *,
        scale: float = 1.0,
        seed: int = 1,
        services: Sequence[str] | None = None,
        say: Say = lambda _: None,
    ) -> Lab:
        """Start a lab in `directory` and return once all of it answers; a healthy one that runs there is returned.

        `services` selects some of them (what they need comes along). Whatever goes wrong, what was started is taken
        down again before the error is raised: StartError, or UsageError when the directory is taken.
        """
        path = Path(directory).resolve()
        chosen = select(services)
        if not 0 < scale <= 10_000:
            raise UsageError(f"scale {scale:g} is out of range", hint="1 means 50,000 messages")
        path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if State.load(path) is not None:
                lab = cls.open(path)
                lab._require_healthy()
                return lab
            _require_free(path)
            names = tuple(service.name for service in chosen)
            with Reserved() as free:
                lab = cls(State(Plan.make(path, scale=scale, seed=seed, services=names, free=free), {}))
                lab._state.save()
                try:
                    lab._start_everything(say)
                except BaseException as error:
                    say(f"taking the lab down again: {type(error).__name__}")
                    lab._take_down(purge=False)
                    raise
            return lab

    @classmethod
    def open(cls, directory: Path | str) -> Lab:
        """The lab in `directory`, running or not. Raises UsageError when there is none."""
        path = Path(directory).resolve()
        state = State.load(path)
        if state is None:
            raise UsageError(f"there is no lab in {path}", hint=f"start one: ccobs-ops lab up --dir {path}")
        return cls(state)

    @property
    def plan(self) -> Plan:
        """What this lab is made of and where it lies."""
        return self._state.plan

    @property
    def directory(self) -> Path:
        """Its folder."""
        return self.plan.directory

    @property
    def inventory_path(self) -> Path:
        """The inventory that it wrote."""
        return self.plan.inventory

    @property
    def services(self) -> tuple[Service, ...]:
        """Its services in starting order."""
        return select(self.plan.services)

    # -- looking -------------------------------------------------------------------------------------------------

    def status(self) -> tuple[ServiceStatus, ...]:
        """Every service as it is now: looked at as a process, and used as its clients use it."""
        self._reload()
        return tuple(self._look(service) for service in self.services)

    def pid(self, service: str) -> int | None:
        """Process id of a living service."""
        process = self._process(named(service))
        return process.pid if process else None

    def runs(self, service: str) -> bool:
        """Whether this lab has `service` and its process lives."""
        self._reload()
        return service in self.plan.services and self.pid(service) is not None

    def log_tail(self, service: str, lines: int = LOG_TAIL_LINES) -> str:
        """The redacted end of a service's log."""
        try:
            with self.plan.log(service).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - 65536))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return REDACT("\n".join(text.splitlines()[-lines:]))

    def _look(self, service: Service) -> ServiceStatus:
        process = self._process(service)
        problem = service.probe(self.plan) if process else "its process has ended"
        return ServiceStatus(
            name=service.name,
            state="dead" if process is None else "silent" if problem else "running",
            address=service.address(self.plan),
            pid=process.pid if process else None,
            memory_bytes=processes.memory_bytes(process) if process else 0,
            problem=problem,
            log=self.plan.log(service.name),
        )

    def _process(self, service: Service) -> psutil.Process | None:
        identity = self._state.processes.get(service.name)
        process = identity.process() if identity else None
        if process is None and (told := service.running(self.plan)) is not None:
            process = told.process()
        return process

    def _require_healthy(self) -> None:
        bad = [look.name for look in self.status() if not look.ok]
        if bad or not self._state.complete:
            what = f"is not healthy: {', '.join(bad)}" if bad else "was never completed"
            raise UsageError(
                f"a lab in {self.directory} is there already and {what}",
                hint=f"look: ccobs-ops lab status --dir {self.directory}; or take it down and up again",
            )

    def _reload(self) -> None:
        state = State.load(self.directory)
        if state is not None:
            self._state = state

    # -- up and down ---------------------------------------------------------------------------------------------

    def _start_everything(self, say: Say) -> None:
        self.plan.make_folders()
        write_inventory(self.plan)
        for service in self.services:
            service.prepare(self.plan)
        pending = list(self.services)
        waiting: list[Service] = []
        answered: set[str] = set()
        while pending or waiting:
            for service in [one for one in pending if set(one.needs) <= answered]:
                self._launch(service)
                pending.remove(service)
                waiting.append(service)
            for service in tuple(waiting):
                if self._is_ready(service):
                    say(f"{service.name} answers")
                    waiting.remove(service)
                    answered.add(service.name)
            if waiting:
                time.sleep(POLL_SECONDS)
        self._state = State(self.plan, self._state.processes, complete=True)
        self._state.save()

    def _launch(self, service: Service) -> None:
        with self.plan.log(service.name).open("ab") as log:
            child = service.start(self.plan, log)
        self._children[service.name] = child
        self._state = self._state.started(service.name, Identity.of(child.pid))
        self._state.save()

    def _is_ready(self, service: Service) -> bool:
        """Whether it answers by now; raises StartError when it ended or ran out of time."""
        if self._process(service) is None:
            raise self._start_error(service, "ended before it answered")
        problem = service.settle(self.plan) or service.probe(self.plan)
        if problem and self._age(service) > service.ready_seconds:
            raise self._start_error(
                service, f"did not answer within {service.ready_seconds:.0f} s ({problem})"
            )
        return not problem

    def _age(self, service: Service) -> float:
        return time.time() - self._state.processes[service.name].created

    def _start_error(self, service: Service, what: str) -> StartError:
        tail = self.log_tail(service.name)
        return StartError(
            f"{service.name} {what}" + (f"; its log ends with\n{tail}" if tail else ""),
            hint=f"the whole log is {self.plan.log(service.name)}",
        )

    def down(self, *, purge: bool = False) -> None:
        """End everything in reverse order and remove all data; logs stay unless `purge`. Idempotent.

        Raises OpsError when something could not be ended.
        """
        if not self.directory.is_dir():
            return
        with locked(self.directory):
            self._reload()
            self._take_down(purge=purge)

    def _take_down(self, *, purge: bool) -> None:
        for service in reversed(self.services):
            self._stop_one(service)
        processes.sweep(MARK, str(self.directory), self.plan.home)
        for service in self.services:
            service.tidy(self.plan)
        self._remove(purge=purge)

    def _remove(self, *, purge: bool) -> None:
        """Only what a lab writes; `lab.json` goes last, so that a `down` that was cut short can be repeated."""
        plan = self.plan
        folders = [folder for service in self.services for folder in service.folders(plan)]
        folders += [plan.home, plan.state_dir, plan.faults, plan.secrets_dir]
        if purge:
            folders.append(plan.logs_dir)
        for folder in dict.fromkeys(folders):
            if folder.exists():
                shutil.rmtree(folder)
        ledger = (*self.directory.glob("ledger.db*"), *self.directory.glob(".ledger.db*"))
        for file in (*ledger, plan.inventory, plan.inventory.with_suffix(".yaml.new")):
            file.unlink(missing_ok=True)
        state_file(self.directory).with_suffix(".json.new").unlink(missing_ok=True)
        state_file(self.directory).unlink(missing_ok=True)
        if purge:
            with contextlib.suppress(OSError):
                self.directory.rmdir()

    # -- services one by one -------------------------------------------------------------------------------------

    def start_service(self, name: str) -> None:
        """Start one service and wait until it answers; nothing happens if it runs."""
        with self._exclusive(name) as service:
            self._start_one(service)

    def stop_service(self, name: str) -> None:
        """End one service gracefully."""
        with self._exclusive(name) as service:
            self._stop_one(service)

    def restart_service(self, name: str) -> None:
        """End one service gracefully and start it again on the same ports and data."""
        with self._exclusive(name) as service:
            self._stop_one(service)
            self._start_one(service)

    def kill_service(self, name: str) -> None:
        """Kill -9 to a service's main process, then wait until its children are gone too."""
        with self._exclusive(name) as service:
            process = self._process(service)
            if process is not None:
                members = processes.family(process)
                processes.kill_all([process])
                if not processes.wait_gone(members, 10.0):
                    processes.kill_all(members)
                    processes.wait_gone(members, 5.0)

    def promote(self) -> int:
        """Restart PostgreSQL as a standby and promote it: a real switch of timeline. Returns the new timeline."""
        with self._exclusive("postgres") as service:
            self._stop_one(service)
            pg.become_standby(self.plan)
            self._start_one(service)
            return pg.promote(self.plan)

    def _start_one(self, service: Service) -> None:
        if self._process(service) is None:
            self._launch(service)
        while not self._is_ready(service):
            time.sleep(POLL_SECONDS)

    def _stop_one(self, service: Service) -> None:
        process = self._process(service)
        if process is not None:
            processes.end(process, first=service.stop_signal, grace=service.stop_seconds)

    @contextmanager
    def _exclusive(self, name: str) -> Iterator[Service]:
        service = named(name)
        if name not in self.plan.services:
            raise UsageError(
                f"this lab was started without {name}", hint=f"it has: {', '.join(self.plan.services)}"
            )
        with locked(self.directory):
            self._reload()
            yield service

    # -- faults --------------------------------------------------------------------------------------------------

    def break_(self, fault: str, *, at: str | None = None, seed: int = 1) -> Damage:
        """Inject a fault for real; what is returned says exactly what was broken. See `ccobs_ops.lab.faults`."""
        from ccobs_ops.lab.faults import inject  # noqa: PLC0415

        return inject(self, fault, at=at, seed=seed)

    def heal(self, fault: str | None = None) -> tuple[Damage, ...]:
        """Undo `fault`, or every fault that is in, newest first; returns what was undone."""
        from ccobs_ops.lab.faults import heal  # noqa: PLC0415

        return heal(self, fault)


def take_down(directory: Path | str, *, purge: bool = False) -> bool:
    """`Lab.down` for a directory whose lab may have crashed at any point, or may not exist; idempotent.

    Returns whether there was anything to take down.
    """
    path = Path(directory).resolve()
    if not path.is_dir():
        return False
    if State.load(path) is not None:
        Lab.open(path).down(purge=purge)
        return True
    return processes.sweep(MARK, str(path), None) > 0


def _require_free(directory: Path) -> None:
    taken = [
        name
        for name in ("inventory.yaml", "ledger.db", "secrets", "postgres", "etcd", ".ccobs")
        if (directory / name).exists()
    ]
    if taken:
        raise UsageError(
            f"{directory} holds {', '.join(taken)} and no lab",
            hint="a lab would overwrite them; choose another folder",
        )
