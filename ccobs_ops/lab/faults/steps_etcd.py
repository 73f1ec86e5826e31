"""Steps of the etcd faults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ccobs_ops.core.etcd.client import ALARMS
from ccobs_ops.lab.faults.step import Step
from ccobs_ops.lab.plan import ETCD_MEMBERS
from ccobs_ops.lab.services import etcd

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab


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
