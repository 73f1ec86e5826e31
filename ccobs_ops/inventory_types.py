"""What every part of the inventory is built of: the base model, kinds of values, credentials, objectives."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ccobs_ops.core.units import parse_duration, parse_size


def _duration(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError(f"a duration needs a unit; write {value}s if you mean seconds")
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _reference(value: str) -> str:
    scheme, _, rest = value.partition(":")
    if scheme not in ("env", "file", "secretsmanager") or not rest:
        raise ValueError(
            "a secret is named, never written; use env:NAME, file:PATH (mode 0600) or secretsmanager:ARN"
        )
    return value


def _cron(value: str) -> str:
    from croniter import croniter  # noqa: PLC0415 - costs start-up time where no inventory is read

    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError(f"{value!r} is no cron expression; five fields, for example '0 2 * * *'")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration must be longer than nothing")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
SecretRef = Annotated[str, AfterValidator(_reference)]
Cron = Annotated[str, AfterValidator(_cron)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Model(BaseModel):
    """Base of every inventory model: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class Credentials(Model):
    """Where an access key is found. Without any, the AWS default chain (role, profile, environment) is used."""

    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None
    session_token: SecretRef | None = None


class Objectives(Model):
    """What a target promises."""

    rto: Duration = timedelta(minutes=30)
    rpo: Duration = timedelta(minutes=1)
    backup_age: Duration = timedelta(hours=26)
    backup_duration: Duration = timedelta(minutes=5)
    time_to_detect: Duration = timedelta(minutes=15)
