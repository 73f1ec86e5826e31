"""Read one root as it is: a refresh-only plan, a normal plan, and whether the state stood still meanwhile.

Invariant: whatever could not be read is `unread`, and an observation with anything unread is never called clean.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Recorder
from ccobs_ops.core.terraform import lock as locks
from ccobs_ops.core.terraform import runner
from ccobs_ops.core.terraform.change import Unread
from ccobs_ops.core.terraform.document import PlanDocument, read_plan, read_plans
from ccobs_ops.core.terraform.root import Root, Source
from ccobs_ops.core.terraform.runner import MemoryFile, PlanFile, StateVersion


@dataclass(frozen=True, slots=True)
class Observation:
    """What was read. `refresh` and `plan` are None where there is none; `saved_refresh` and `saved` are their plan files."""

    refresh: PlanDocument | None
    plan: PlanDocument | None
    saved_refresh: PlanFile | None
    saved: PlanFile | None
    unread: tuple[Unread, ...]
    state: StateVersion | None
    source: Source
    lock: locks.Lock | None
    lock_problem: str


@dataclass(frozen=True, slots=True)
class _Made:
    saved: PlanFile
    json: MemoryFile | None
    unread: tuple[Unread, ...]


def observe(root: Root, recorder: Recorder, stack: ExitStack, *, side_by_side: bool) -> Observation:
    """Plan `root` both ways. The saved plan stays open until `stack` is left.

    With `side_by_side` both plans are made at once, which takes half the time on two idle cores and no lock. Raises
    UnknownError when the root cannot even be initialised.
    """
    with recorder.phase("init"):
        root.initialise()
        source = root.source()
    alone = root.config.lock or not side_by_side
    with ThreadPoolExecutor(1 if alone else 3, thread_name_prefix="terraform") as pool:
        try:
            looking: Future[locks.Look] | None = None if root.config.lock else pool.submit(locks.look, root)
            futures = [pool.submit(_plan, root, recorder, stack, refresh_only=each) for each in (True, False)]
            refresh, normal = (future.result() for future in futures)
            held = looking.result() if looking is not None else locks.Look()
        except BaseException:
            root.terraform.cancelled.set()  # the other threads' commands end now, and not when they are done
            raise
    unread = [*refresh.unread, *normal.unread]
    documents = _documents(root, recorder, (refresh, normal), unread)
    states = [one.saved.state() for one in (refresh, normal)]
    if held.lock is not None:
        unread.append(
            Unread(
                "state_locked",
                root.target,
                f"the state is locked: {held.lock}; what was read may be changing",
                f"scan again when it is released; if nobody holds it any more: terraform force-unlock {held.lock.id}",
            )
        )
    if not any(one.code in ("state_unreadable", "credentials_refused") for one in unread):
        unread += _moved(root, recorder, states, source)
    return Observation(
        documents[0],
        documents[1],
        refresh.saved if documents[0] is not None else None,
        normal.saved if documents[1] is not None else None,
        tuple(dict.fromkeys(unread)),
        states[1] or states[0],
        source,
        held.lock,
        held.problem,
    )


def _plan(root: Root, recorder: Recorder, stack: ExitStack, *, refresh_only: bool) -> _Made:
    """One plan and its JSON. Tried once more after an `init`, where that is what Terraform asks for."""
    config = root.config
    name = "refresh_plan" if refresh_only else "plan"
    options: dict[str, Any] = {
        "refresh_only": refresh_only,
        "lock": config.lock,
        "lock_timeout": config.lock_timeout.total_seconds(),
        "parallelism": config.parallelism,
        "var_files": root.var_files,
    }
    with recorder.phase(name):
        saved = stack.enter_context(runner.plan(root.terraform, **options))
    if any(one.kind == "not_initialized" for one in saved.outcome.errors):
        root.initialise(force=True)
        with recorder.phase(name):
            saved = stack.enter_context(runner.plan(root.terraform, **options))
    unread = [one.as_unread(root.target) for one in saved.outcome.errors]
    json = None
    if saved.usable:
        try:
            with recorder.phase(f"show_{name}") as meter:
                json = stack.enter_context(runner.shown(root.terraform, saved.file.path))
                meter.add(json.size)
        except UnknownError as error:
            if not unread:
                unread.append(Unread("not_read", root.target, error.message, error.hint))
    elif not unread:
        unread.append(Unread("not_read", root.target, "terraform made no plan and gave no reason"))
    return _Made(saved, json, tuple(unread))


def _documents(
    root: Root, recorder: Recorder, made: tuple[_Made, _Made], unread: list[Unread]
) -> tuple[PlanDocument | None, PlanDocument | None]:
    """Both plans, read with one set of secrets: what is sensitive in one is redacted in both."""
    there = [one for one in made if one.json is not None]
    found: list[PlanDocument] = []
    with recorder.phase("read"):
        try:
            found = list(read_plans([one.json.path for one in there if one.json is not None]))
        except UnknownError as error:
            unread.append(Unread("not_read", root.target, error.message, error.hint))
    for one in there:
        if one.json is not None:
            one.json.close()
    if any(document.errored for document in found) and not unread:
        unread.append(Unread("not_read", root.target, "terraform could not finish the plan"))
    by_plan = dict(zip([id(one) for one in there], found, strict=False))
    return by_plan.get(id(made[0])), by_plan.get(id(made[1]))


def _moved(root: Root, recorder: Recorder, states: list[StateVersion | None], source: Source) -> list[Unread]:
    """What shows that the plans speak of a state, or of a configuration, that is not there any more."""
    unread: list[Unread] = []
    try:
        with recorder.phase("state"):
            after = locks.version(root) or runner.pulled(root.terraform)
        nothing_yet = not after.lineage and all(one is None or one.serial == 0 for one in states)
        if not nothing_yet and any(one is not None and one != after for one in states):
            told = "; ".join(str(one) for one in [*states, after])
            unread.append(
                Unread(
                    "state_changed",
                    root.target,
                    f"the state changed while it was read ({told})",
                    "scan again when nobody applies",
                )
            )
    except OpsError as error:
        unread.append(Unread("state_unreadable", root.target, error.message, error.hint))
    if root.source() != source:
        unread.append(
            Unread(
                "source_changed",
                root.target,
                "the configuration changed while it was read",
                "scan again when the checkout is complete",
            )
        )
    return unread


def state_of(root: Root) -> PlanDocument:
    """What the state of another root holds, without planning anything. Raises UnknownError when it cannot be read."""
    root.initialise()
    with runner.shown(root.terraform, None) as json, MemoryFile("tfstate") as wrapped:
        with wrapped.path.open("r+b") as file:
            file.write(b'{"format_version":"1.2","terraform_version":"","prior_state":')
            _copy(json.path, file)
            file.write(b"}")
        return read_plan(wrapped.path)


def _copy(path: Path, into: Any) -> None:
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            into.write(block)
