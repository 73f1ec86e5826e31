"""The lab's three roots: their files, how the inventory names them, and their first apply."""

from __future__ import annotations

import importlib.resources
import shlex
import sys
from pathlib import Path
from typing import Any

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.plan import MARK, STATE_BUCKET, TARGET, Plan
from ccobs_ops.lab.s3 import aws_region

ROOTS = ("production", "dr", "staging")
REATTACH = "reattach.json"
"""The secret (0600, for what it lets one do) with which Terraform finds the provider that is running already."""
VERSION = "0.1.0"
_MIRROR = Path("mirror/example.com/lab/lab") / VERSION / "linux_amd64"


def directory(plan: Plan) -> Path:
    """Where all of it lies."""
    return plan.directory / "terraform"


def state_key(name: str) -> str:
    """The object that holds the state of root `name`."""
    return f"roots/{name}.tfstate"


def write(plan: Plan) -> None:
    """Write the roots, the provider as a plugin in a mirror, and the configuration that finds it there."""
    folder = directory(plan)
    folder.mkdir(mode=0o755)
    (folder / "files").mkdir()
    source = importlib.resources.files("ccobs_ops.lab.terraform") / "roots"
    for name in ROOTS:
        (folder / name).mkdir()
        (folder / name / "main.tf").write_text((source / name / "main.tf").read_text())
    mirror = folder / _MIRROR
    mirror.mkdir(parents=True)
    plugin = mirror / f"terraform-provider-lab_v{VERSION}"
    paths = plan.python_environment()["PYTHONPATH"]
    plugin.write_text(
        "#!/bin/sh\n"
        f"export HOME={shlex.quote(str(folder))} {MARK}={shlex.quote(str(plan.directory))}"
        f" PYTHONPATH={shlex.quote(paths)}\n"
        f'exec {shlex.quote(sys.executable)} -P -m ccobs_ops.lab.terraform.provider "$@"\n'
    )
    plugin.chmod(0o755)
    (folder / "cli.tfrc").write_text(
        "provider_installation {\n"
        f'  filesystem_mirror {{\n    path    = "{folder / "mirror"}"\n    include = ["example.com/*/*"]\n  }}\n'
        '  direct {\n    exclude = ["example.com/*/*"]\n  }\n}\n'
    )


def inventory(plan: Plan) -> dict[str, Any]:
    """The roots as the lab's inventory names them."""
    return {name: _root(plan, name) for name in ROOTS}


def _root(plan: Plan, name: str) -> dict[str, Any]:
    root: dict[str, Any] = {
        "dir": f"terraform/{name}",
        "binary": "packaged",
        "backend_config": {
            "bucket": STATE_BUCKET,
            "key": state_key(name),
            "region": aws_region("us"),
            "use_lockfile": "true",
            "use_path_style": "true",
            "skip_credentials_validation": "true",
            "skip_requesting_account_id": "true",
            "skip_metadata_api_check": "true",
            "skip_region_validation": "true",
        },
        "environment": {
            "AWS_ACCESS_KEY_ID": "file:secrets/us_terraform_access_key",
            "AWS_SECRET_ACCESS_KEY": "file:secrets/us_terraform_secret_key",
            "TF_REATTACH_PROVIDERS": f"file:secrets/{REATTACH}",
        },
        "settings": {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{plan.s3_port('us')}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_CLI_CONFIG_FILE": str(directory(plan) / "cli.tfrc"),
            MARK: str(plan.directory),
        },
        "deadline": "2m",
        "impact_rules": [str(importlib.resources.files("ccobs_ops.lab.terraform") / "impact_rules.yaml")],
        "owners": ["team:observatory"],
    }
    policy: dict[str, Any] = {"types": ["lab_*"], "grace": "1ms", "approval_expires": "1h"}
    if name == "production":
        root["variables"] = {"escrow_key": "file:secrets/escrow_key"}
        root["allow"] = ["remediate", "accept"]
        policy["validated_by"] = {"lab_database_setting.*": TARGET, "lab_bucket.*": TARGET}
        root["account"] = {
            "region": aws_region("us"),
            "endpoint": f"http://127.0.0.1:{plan.s3_port('us')}",
            "credentials": {
                "access_key": "file:secrets/us_terraform_access_key",
                "secret_key": "file:secrets/us_terraform_secret_key",
            },
            "kinds": ["s3_bucket"],
            "types": {"lab_bucket": "s3_bucket"},
            "also_managed_by": ["staging"],
            "exclude": ["ccobs-*"],
            "cloudtrail": False,
        }
    if name == "dr":
        root |= {"role": "dr", "parity_with": "production"}
    if name == "staging":
        root["allow"] = ["remediate", "accept"]
        policy |= {"approval": False, "automatic": True, "validated_by": {"*": TARGET}}
    return root | {"remediation": policy}


def missing(plan: Plan) -> tuple[str, ...]:
    """The roots that have no state yet."""
    from ccobs_ops.lab.s3 import client  # noqa: PLC0415

    listed = client(plan, "us").list_objects_v2(Bucket=STATE_BUCKET, Prefix="roots/")
    there = {row["Key"] for row in listed.get("Contents", ())}
    return tuple(name for name in ROOTS if state_key(name) not in there)


def apply(plan: Plan, name: str) -> None:
    """Plan and apply the root `name`. Raises OpsError with what Terraform says."""
    from ccobs_ops.core.terraform import runner  # noqa: PLC0415
    from ccobs_ops.core.terraform.root import opened  # noqa: PLC0415
    from ccobs_ops.inventory_load import load  # noqa: PLC0415

    with opened(load(plan.inventory), name) as root:
        root.initialise()
        options: dict[str, Any] = {"lock": True, "lock_timeout": 10, "parallelism": 10}
        with runner.plan(root.terraform, refresh_only=False, var_files=(), **options) as made:
            outcome = made.outcome
            if outcome.returncode == 0:
                outcome = runner.apply(
                    root.terraform, made.file.path, lock_timeout=10, parallelism=10, deadline=60
                )
    if outcome.returncode != 0:
        raise OpsError(f"the lab's root {name} cannot be applied: {outcome.errors[0].told}")
