"""Benchmarks of the report and of the verification of the ledger, on a large ledger."""
