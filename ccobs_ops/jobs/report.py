"""The job `recovery_report`."""

from typing import Any

import dagster as dg

from ccobs_ops.assets.report import KEY, ReportConfig

JOB = "recovery_report"


def report_jobs() -> list[Any]:
    """`recovery_report`: the report, now."""
    return [
        dg.define_asset_job(
            JOB,
            selection=dg.AssetSelection.assets(KEY),
            config=dg.RunConfig(ops={KEY.to_python_identifier(): ReportConfig()}),
            executor_def=dg.in_process_executor,
            run_tags={"workload": "report"},
            description="Verify all of the ledger, write the recovery report and sign it. Changes nothing else.",
        )
    ]
