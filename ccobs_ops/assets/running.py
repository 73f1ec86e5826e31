"""What every launch may say, and how a step runs one exercise: once, and once more when something could not be reached."""

from collections.abc import Callable

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.reporting import failures_for_people, transient
from ccobs_ops.core.exercise import Exercise

RETRY_AFTER_SECONDS = 20.0


class Asked(dg.Config):
    """What every launch may say: who asks, and why."""

    reason: str = Field(default="", description="Why this is launched; it is written to the run's log.")
    operator: str = Field(default="", description="Who launches it; empty for a schedule.")


def run_exercise(
    context: dg.AssetExecutionContext, config: Asked, run: Callable[[], Exercise], retry_after: float
) -> Exercise:
    """What `run` gives. Raises dg.RetryRequested, once, `retry_after` seconds later, when only something was out of reach."""
    if config.operator or config.reason:
        context.log.info(
            f"launched by {config.operator or 'nobody named'}: {config.reason or 'no reason given'}"
        )
    with failures_for_people():
        exercise = run()
    if transient(exercise) and context.retry_number == 0:
        context.log.warning(f"{exercise.reason}; trying once more in {retry_after:.0f} s")
        raise dg.RetryRequested(max_retries=1, seconds_to_wait=retry_after)
    return exercise
