"""A restored layer of a drill that stays up while the drill uses it.

The restore, its proofs and its removal are one call of the function that proves the target every night; it runs in a thread
of its own (a restored server dies with the thread that started it) and reports here how far it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.core.drill.step import Outcome
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Claim, Exercise, Recorder, Verdict, conclude

PROMISES = ("rto", "rpo")
"""Claims about a layer's own promises: they do not say that what came back is wrong, and stop no step."""
_POLL_SECONDS = 0.1


class AbandonedError(UnknownError):
    """The drill is given up: what is restored for it goes."""


@dataclass(slots=True)
class _Reached:
    """How far the restore is; filled by its thread."""

    exercise: str | None = None
    claims: tuple[Claim, ...] = ()
    copy: Any = None
    ended: Exercise | None = None
    error: BaseException | None = None


class Held:
    """One layer. `begin` is handed this object's `ready` and `proven`, and returns the exercise when the copy is gone."""

    def __init__(self, target: str, begin: Callable[[Held], Exercise]) -> None:
        self.target = target
        self._begin = begin
        self._reached = _Reached()
        self._ready, self._proven = threading.Event(), threading.Event()
        self._release, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._why = ""

    # -- called from the thread of the restore ---------------------------------------------------------------------

    def ready(self, rec: Recorder) -> None:
        """The copy answers."""
        self.check()
        self._reached.exercise = rec.id
        self._ready.set()

    def proven(self, rec: Recorder, copy: Any) -> None:
        """All that needs the running copy was claimed; returns when the drill has no more use for it."""
        self._reached.claims, self._reached.copy = tuple(rec.claims), copy
        self._proven.set()
        self._release.wait()
        self._reached.copy = None
        self.check()

    def check(self) -> None:
        """Raises AbandonedError once the drill is given up."""
        if self._why:
            raise AbandonedError(self._why, hint="nothing of it is left; run the drill again")

    # -- called from the steps of the drill ------------------------------------------------------------------------

    def restore(self) -> Outcome:
        """Begin, and wait until the copy answers, or until there will be none."""
        self._thread = threading.Thread(target=self._run, name=f"held-{self.target}", daemon=True)
        self._thread.start()
        return self._when(self._ready) or Outcome(
            Verdict.PASSED, "restored, and it answers", self._reached.exercise
        )

    def verify(self) -> Outcome:
        """Wait until what came back was looked at. The layer's own promises are not judged here."""
        early = self._when(self._proven)
        if early is not None:
            return early
        return _judge(self._reached.claims, self._reached.exercise)

    @property
    def copy(self) -> Any:
        """The running copy, between `verify` and `clean_up`. Raises OpsError when there is none."""
        found = self._reached.copy
        if found is None:
            raise OpsError(f"there is no restored copy of {self.target} to ask")
        return found

    def clean_up(self) -> Outcome:
        """Let the copy go, and wait until nothing of it is left. Its last proofs, of the copy at rest, end with it."""
        self._release.set()
        if self._thread is None:
            return Outcome(Verdict.PASSED, "nothing was restored")
        self._thread.join()
        ended = self._reached.ended
        if ended is None:
            return Outcome(Verdict.UNKNOWN, f"the restore did not end well: {self._reached.error!r}")
        judged = _judge(ended.claims, ended.id)
        if judged.verdict is Verdict.PASSED:
            return Outcome(Verdict.PASSED, "nothing of the sandbox is left", ended.id)
        return judged

    def abandon(self, why: str) -> None:
        """Make it end as soon as it can."""
        self._why = self._why or why
        self._release.set()

    @property
    def ended(self) -> Exercise | None:
        """The exercise of the layer, once it is over."""
        return self._reached.ended

    def _when(self, event: threading.Event) -> Outcome | None:
        """None once `event` has come; how the restore ended, if it ended before."""
        while not event.wait(_POLL_SECONDS):
            if self._over.is_set() and not event.is_set():
                break
        if event.is_set():
            return None
        if self._reached.error is not None:
            raise self._reached.error
        ended = self._reached.ended
        assert ended is not None
        return Outcome(
            Verdict.FAILED if ended.verdict is Verdict.PASSED else ended.verdict, ended.reason, ended.id
        )

    def _run(self) -> None:
        try:
            self._reached.ended = self._begin(self)
        except BaseException as error:  # noqa: BLE001 - raised in the step that waits for it
            self._reached.error = error
        finally:
            self._over.set()


def _judge(claims: tuple[Claim, ...], exercise: str | None) -> Outcome:
    about = [claim for claim in claims if claim.name not in PROMISES]
    verdict = conclude(about)
    telling = next((claim for claim in about if claim.verdict is verdict), None)
    if verdict is Verdict.PASSED:
        return Outcome(verdict, f"{len(about)} claims hold: {', '.join(c.name for c in about)}", exercise)
    told = f"{telling.name}: {telling.reason}" if telling else "nothing was checked"
    return Outcome(verdict, told, exercise)


def moment_of(exercise: Exercise | None) -> datetime | None:
    """The moment that a layer came back to, as its exercise has it."""
    told = exercise.details.get("recovered_to") if exercise is not None else None
    return datetime.fromisoformat(told) if isinstance(told, str) else None
