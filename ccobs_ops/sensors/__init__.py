"""Dagster sensors. A sensor detects; the job that it launches looks again before it acts."""
