"""Keeps the immutable copy of the archives: see `ccobs_ops.lab.vault`."""

from __future__ import annotations

import subprocess
from typing import IO

from ccobs_ops.lab.plan import VAULT_BUCKET, Plan
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services.base import Service, launch_module


class Vault(Service):
    """Copies what is finished in us into a bucket of eu where everything is under object lock."""

    name = "vault"
    needs = ("us", "eu")

    def address(self, plan: Plan) -> str:
        """Where it copies to."""
        return f"us → s3://{VAULT_BUCKET} in eu, object lock"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """See `ccobs_ops.lab.vault`."""
        return launch_module(plan, log, "ccobs_ops.lab.vault", f"--inventory={plan.inventory}")

    def probe(self, plan: Plan) -> str:
        """The bucket is there, and locks."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = client(plan, "eu").get_object_lock_configuration(Bucket=VAULT_BUCKET)
        except (BotoCoreError, ClientError) as error:
            return f"s3://{VAULT_BUCKET} does not answer: {' '.join(str(error).split())[:160]}"
        enabled = answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"
        return "" if enabled else f"s3://{VAULT_BUCKET} has no object lock"
