"""Clients of AWS' APIs for the native signals: short timeouts, few attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ccobs_ops.inventory_native import AwsAccess

_TIMEOUT_SECONDS = 10.0
_ATTEMPTS = 3


def aws_client(access: AwsAccess, service: str, base: Path, *, region: str | None = None) -> Any:
    """A client of `service` in `region` (default: the source's); `base` is the inventory's folder, for secrets."""
    import boto3  # noqa: PLC0415 - 0.2 s that most commands do not need
    from botocore.config import Config  # noqa: PLC0415

    from ccobs_ops.core.secrets import resolve  # noqa: PLC0415

    keys = access.credentials
    return boto3.client(
        service,
        region_name=region or access.region,
        endpoint_url=access.endpoint,
        aws_access_key_id=resolve(keys.access_key, base=base) if keys.access_key else None,
        aws_secret_access_key=resolve(keys.secret_key, base=base) if keys.secret_key else None,
        aws_session_token=resolve(keys.session_token, base=base) if keys.session_token else None,
        config=Config(
            connect_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        ),
    )
