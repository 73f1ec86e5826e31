"""Run jobs of the code location to their end, one after another, in this process, on the instance that DAGSTER_HOME names.

    python -m ccobs_ops.launch nightly_validation terraform_scan --partition 2026-11-23

No webserver or daemon has to be up; the run, its partition, materializations and checks are in that instance's
history like those of any other run. Exit status: 0 when every run succeeded, 1 otherwise.
"""

import argparse
import sys
from collections.abc import Sequence

import dagster as dg

from ccobs_ops.core.errors import OpsError
from ccobs_ops.definitions import defs

LOCATION = "ccobs-ops"
REPOSITORY_TAG = {".dagster/repository": f"__repository__@{LOCATION}"}
"""What lists a run under its job in the UI; runs that the UI launches carry it too (workspace.yaml has the name)."""


def launch(job_name: str, *, partition: str | None) -> bool:
    """Run `job_name`, for `partition` if it has partitions; True when the run succeeded."""
    definitions = defs() if callable(defs) else defs
    job = definitions.resolve_job_def(job_name)
    with dg.DagsterInstance.get() as instance:
        key = partition if job.partitions_def is not None else None
        result = job.execute_in_process(
            instance=instance, partition_key=key, tags=REPOSITORY_TAG, raise_on_error=False
        )
    return result.success


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m ccobs_ops.launch", description=__doc__)
    parser.add_argument("jobs", nargs="+", metavar="job")
    parser.add_argument("--partition", help="a day such as 2026-11-23, for the jobs that have partitions")
    asked = parser.parse_args(argv)
    try:
        succeeded = [launch(job, partition=asked.partition) for job in asked.jobs]
        return 0 if all(succeeded) else 1
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
