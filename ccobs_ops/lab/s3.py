"""S3 clients for the lab's own regions, for readiness and for faults."""

from __future__ import annotations

from typing import Any

from ccobs_ops.lab.plan import Plan


def client(plan: Plan, region: str, *, read_only: bool = False) -> Any:
    """A path-style client for `region` that gives up after seconds: the server is on this machine."""
    import boto3  # noqa: PLC0415 - half a second that most commands do not need
    from botocore.config import Config  # noqa: PLC0415

    right = "read_only_" if read_only else ""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{plan.s3_port(region)}",
        region_name=aws_region(region),
        aws_access_key_id=plan.secret(f"{region}_{right}access_key"),
        aws_secret_access_key=plan.secret(f"{region}_{right}secret_key"),
        config=Config(
            s3={"addressing_style": "path"},
            proxies={},
            connect_timeout=2,
            read_timeout=10,
            retries={"total_max_attempts": 1},
        ),
    )


def aws_region(region: str) -> str:
    """The AWS name that stands for one of the lab's regions."""
    return {"us": "us-east-1", "eu": "eu-west-1"}[region]
