"""Steps of the etcd faults."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.client import ALARMS
from ccobs_ops.lab.faults.step import Step
from ccobs_ops.lab.plan import ETCD_MEMBERS
from ccobs_ops.lab.services import etcd

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab


_ELECTION_SECONDS = 20.0


class MoveLeader(Step):
    """Have one member lead, whoever does now."""

    kind: Literal["move_leader"] = "move_leader"
    member: str

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"made {self.member} the leader"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Ask the one that leads now to hand over; a leader that is moved at that moment is asked again."""
        deadline = time.monotonic() + _ELECTION_SECONDS
        while True:
            try:
                with etcd.client(lab.plan, *ETCD_MEMBERS) as client:
                    leader, names = client.status().leader, {each.id: each.name for each in client.members()}
                if names[leader] == self.member:
                    return
                wanted = next(number for number, name in names.items() if name == self.member)
                with etcd.client(lab.plan, names[leader]) as client:
                    client.move_leader(wanted)
            except OpsError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Nothing: any member may lead."""


class RaiseAlarm(Step):
    """Raise an alarm of etcd for one member, by the request with which a member does it itself."""

    kind: Literal["raise_alarm"] = "raise_alarm"
    member: str
    alarm: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"raised the alarm {ALARMS[self.alarm]} for {self.member}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Raise it."""
        self._set(lab, on=True)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Disarm it."""
        self._set(lab, on=False)

    def _set(self, lab: Lab, *, on: bool) -> None:
        with etcd.client(lab.plan, *ETCD_MEMBERS) as client:
            number = next(each.id for each in client.members() if each.name == self.member)
            client.set_alarm(number, self.alarm, on=on)
