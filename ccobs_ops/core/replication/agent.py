"""The long-running part of replication: one canary after the other, watched for until it arrives.

```
source  <--canary every interval-- sender --confirmed--> ledger            one thread each:
replica --seen, or not there yet-- watcher -> ledger, and an exercise at once when the RPO breaks or holds again
```
Each part fails alone and is tried again: a source that is down stops no watching, a replica that is down stops no sending.
What a killed agent leaves is taken up by the next one: canaries without a row, and canaries that were still looked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import DamagedError, OpsError
from ccobs_ops.core.exercise import Severity, Verdict
from ccobs_ops.core.folders import only_one
from ccobs_ops.core.ledger import Event
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.replication.arrivals import Arrival
from ccobs_ops.core.replication.canary import Canaries, target_of
from ccobs_ops.core.replication.lag import agent_lock, look_back
from ccobs_ops.core.units import format_duration, format_seconds

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0)
_PRUNE_SECONDS = 60.0
_BEAT_SECONDS = 1.0
_KEPT_WINDOWS = 24 * 14
"""Rows stay for two weeks of hours; the objects themselves only for `canary.keep`."""


def run_agents(ctx: Context, names: Sequence[str], *, stop: threading.Event) -> None:
    """Run the agents of all pairs in `names`, each with two threads, until `stop` is set. Blocks.

    Raises the first OpsError of one that cannot start (another agent of its pair runs here); the others are then ended too.
    """
    errors: list[OpsError] = []

    def one(name: str) -> None:
        try:
            run_agent(ctx, name, stop=stop)
        except OpsError as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=one, args=(name,), name=f"canary-{name}") for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1.0)
    if errors:
        raise errors[0]


def run_agent(ctx: Context, name: str, *, stop: threading.Event) -> None:
    """Send and watch canaries of the pair `name` until `stop` is set. Blocks.

    Raises OpsError when another agent of this pair runs on this host; everything else is reported, recorded where
    possible, and tried again.
    """
    target = target_of(name)
    busy = f"an agent of {target} runs on this host already"
    with only_one(agent_lock(ctx.inventory, name), busy, hint="one agent a pair is enough"):
        agent = _Agent(ctx, name, stop)
        sender = threading.Thread(target=agent.keep, args=("send", agent.send), name="canary-send")
        sender.start()
        try:
            agent.keep("watch", agent.watch)
        finally:
            stop.set()
            sender.join(timeout=30)


class _Agent:
    def __init__(self, ctx: Context, name: str, stop: threading.Event) -> None:
        self._ctx = ctx
        self._name = name
        self._stop = stop
        self._target = target_of(name)
        self._canaries = Canaries(ctx, name)
        self._sent: list[Arrival] = []
        self._lock = threading.Lock()
        self._said: dict[str, str] = {}
        self._beaten: dict[str, float] = {}
        self._last_sent = 0
        self._broken = self._broken_before()

    def keep(self, component: str, work: Callable[[], None]) -> None:
        """Do `work` until stopped; an error is said once, and `work` tried again after a growing pause."""
        failures = 0
        while not self._stop.is_set():
            began = self._ctx.timer()
            try:
                work()
                failures = 0
            except Exception as error:  # noqa: BLE001 - one part must not take the other down
                if self._ctx.timer() - began > 30:
                    failures = 0
                told = REDACT(error.message if isinstance(error, OpsError) else repr(error))
                self._say(component, told)
                if isinstance(error, DamagedError) and error.code == "canary_corrupt":
                    self._corrupt(error)
                self._beat(component, {"error": told}, at_once=True)
                self._stop.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                failures += 1

    def send(self) -> None:
        """Send canaries on the clock until stopped or the source fails."""
        reconciled = self._canaries.reconcile()
        if reconciled:
            self._note(f"{reconciled} canaries were in the source without a row; they are looked for now")
            with self._lock:
                self._sent += self._canaries.arrivals.waiting()
        self._note(
            f"sending canaries of {self._target}, one every {format_duration(self._canaries.config.interval)}"
        )
        interval = self._canaries.config.interval.total_seconds()
        due = self._ctx.timer()
        pruned = float("-inf")
        while not self._stop.is_set():
            sent = self._canaries.send()
            with self._lock:
                self._sent.append(sent)
            self._said.pop("send", None)
            self._beat("send", {"seq": sent.seq}, at_once=True)
            if self._ctx.timer() - pruned >= _PRUNE_SECONDS:
                pruned = self._ctx.timer()
                self._prune()
            due = max(due + interval, self._ctx.timer())
            while not self._stop.is_set() and self._ctx.timer() < due:
                self._stop.wait(min(_BEAT_SECONDS, due - self._ctx.timer()))

    def watch(self) -> None:
        """Look for canaries until stopped or the replica fails."""
        self._canaries.resume()
        while not self._stop.is_set():
            with self._lock:
                sent, self._sent = self._sent, []
            for arrival in sent:
                self._canaries.watch(arrival)
            ended = self._canaries.look()
            self._said.pop("watch", None)
            self._beat("watch", {"waiting": len(self._canaries.waiting)})
            self._judge(ended)
            self._stop.wait(min(0.05, self._canaries.next_look_seconds()) or 0.01)

    def _judge(self, ended: tuple[Arrival, ...]) -> None:
        """Say at once that the RPO is broken, or that it holds again."""
        rpo = self._canaries.pair.rpo.total_seconds()
        overdue = [one for one in self._canaries.waiting if one.least_seconds > rpo]
        overdue += [one for one in ended if one.seen_at is None]
        if overdue and not self._broken:
            self._broken = True
            self._event(
                "rpo_breach",
                overdue[0].key,
                {"at_least_seconds": overdue[0].least_seconds, "rpo_seconds": rpo, "missing": len(overdue)},
            )
            self._conclude()
        elif self._broken and not overdue and any(one.seen_at is not None for one in ended):
            self._broken = False
            longest = max((one.least_seconds for one in ended), default=0.0)
            self._event("rpo_restored", ended[-1].key, {"at_least_seconds": longest, "rpo_seconds": rpo})
            self._conclude()

    def _conclude(self) -> None:
        """Record an exercise: the finding is in the ledger the moment that it is one."""
        self._canaries.flush()
        exercise = look_back(self._ctx, self._name)
        self._note(f"{exercise.verdict.value}: {exercise.reason}")
        for finding in exercise.findings:
            if finding.severity is Severity.CRITICAL:
                self._note(f"{finding.code}: {finding.message}")

    def _corrupt(self, error: DamagedError) -> None:
        if self._said.get("corrupt") != error.subject:
            self._said["corrupt"] = error.subject
            self._event("canary_corrupt", error.subject, {"said": error.message})
            self._conclude()

    def _prune(self) -> None:
        """Remove old objects and old rows; a source that keeps its objects is no reason to stop sending."""
        try:
            self._canaries.remove_old()
            keep = self._canaries.config.keep * _KEPT_WINDOWS
            self._canaries.arrivals.prune(self._ctx.clock() - keep)
            self._said.pop("remove", None)
        except OpsError as error:
            self._say("remove", f"old canaries cannot be removed: {REDACT(error.message)}")

    def _broken_before(self) -> bool:
        """Whether the RPO was broken when an earlier agent ended: it is then told when it holds again."""
        try:
            latest = self._ctx.ledger.latest(self._target, "canary")
        except OpsError:
            return False
        return latest is not None and latest.verdict is Verdict.FAILED

    def _event(self, kind: str, subject: str, details: dict[str, Any]) -> None:
        told = ", ".join(
            f"{name.removesuffix('_seconds').replace('_', ' ')} "
            f"{format_seconds(value) if name.endswith('_seconds') else value}"
            for name, value in details.items()
        )
        self._note(f"{kind}: {subject}: {told}")
        self._ctx.ledger.record_event(Event(self._target, kind, subject, self._ctx.clock(), details))

    def _beat(self, component: str, details: dict[str, Any], *, at_once: bool = False) -> None:
        now = self._ctx.timer()
        if not at_once and now - self._beaten.get(component, float("-inf")) < _BEAT_SECONDS:
            return
        self._beaten[component] = now
        try:
            self._ctx.ledger.beat(self._target, component, self._ctx.clock(), details)
        except OpsError as error:
            self._say("ledger", REDACT(error.message))

    def _say(self, component: str, message: str) -> None:
        """Say a thing once until it changes."""
        if self._said.get(component) != message:
            self._said[component] = message
            self._note(f"{component}: {message}")

    def _note(self, message: str) -> None:
        self._ctx.progress.note(message)
