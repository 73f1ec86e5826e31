"""Dagster assets, one module a noun: decorators and translation only. The behaviour is in `ccobs_ops.core`."""
